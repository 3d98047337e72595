"""What is faster on this machine is found by trying it, once."""

import contextlib
import copy
import functools
import hashlib
import os
import platform
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import torch
from filelock import FileLock, Timeout
from torch import Tensor, nn

from viewfinder.cache import cache_folder
from viewfinder.errors import listed
from viewfinder.loop import TF32, forward_context, step_context
from viewfinder.preprocess import preprocess_of
from viewfinder.step_graph import why_no_graph
from viewfinder.whole_files import read_json, write_json

CPU = torch.device("cpu")
ALL_THREADS = torch.get_num_threads()
"""What torch takes by itself, one a core."""
FEW = 4
"""Threads, up to which all are taken untried: fewer can gain little, and a neighbour's noise can feign it."""
MOST_THREADS = 256
"""A run folder may ask for so many; of far more, OpenMP dies."""
EXACT = "32-true"
FAST = "bf16-mixed"
MARGIN = 1.2
"""How many times as fast fewer threads, or a lower precision, must be before all threads, or a higher one, are left."""
BUDGET = 0.25
"""Seconds that trying one against another may take, about."""
STEP = 0.04
"""Seconds that one step of it should take; a slow network is tried with fewer pictures."""
PATIENCE = 60.0
"""Seconds to wait for another run's trial."""
BUSY = 0.25
"""Of all cores' time; where other programs take more, a trial says nothing."""
TICKS = 0.1
"""Seconds in which that can be told: it is counted in hundredths."""
TURNS = 40
"""Of a step and another, at most."""


class Choices(NamedTuple):
    device: str
    """such as 'cpu, 2 threads' or 'cuda, NVIDIA H200'"""
    threads: int
    precision: str
    is_graphed: bool
    """whether training steps are a CUDA graph"""
    said: str
    """device, threads and precision, and why, for a person"""
    graph_said: str
    """the same of the graph; "" where there is nothing to be said"""


def choose(
    network: nn.Module,
    batch: tuple[int, ...],
    device: torch.device,
    trainer: Mapping[str, Any],
    before: Mapping[str, Any] | None = None,
    head_alone: bool = False,
    loss: nn.Module | None = None,
) -> Choices:
    """Torch's threads, which this sets, and the precision of training: as asked, or what is faster by a clear margin.

    Also whether training steps are a CUDA graph.

    A network is tried once on a machine, so that equal commands make equal choices: what was found is kept in
    choices.json in the cache folder, which may be removed. With `deterministic` or several devices nothing is tried.

    Args:
        batch: shape of a training batch of uint8 pictures, (N, C, H, W).
        trainer: the keys of the trainer group; of them `threads` may be None, and `precision` "auto".
        before: `threads` and `precision` of a run that is continued, and keeps them.
        head_alone: whether the head alone is trained, on features that were computed beforehand: in float32, since so
            small a network gains little.
        loss: a graph of a step has one, too.
    """
    asked = "as asked"
    if before is not None and "threads" in before:
        kept = {"threads": min(before["threads"], MOST_THREADS), "precision": before.get("precision", EXACT)}
        trainer, asked = {**trainer, **kept}, "as before"
    devices = trainer.get("devices", 1)
    fixed = bool(trainer.get("deterministic")) or devices != 1
    threads, why_threads = trainer.get("threads"), ""
    if threads is None:
        threads = max(1, ALL_THREADS // devices) if isinstance(devices, int) and device.type == "cpu" else ALL_THREADS
        if not fixed and device.type == "cpu" and ALL_THREADS > FEW and "OMP_NUM_THREADS" not in os.environ:
            threads, why_threads = _choose_threads(network, batch)
    if devices != 1:  # or Lightning would set what it thinks best when training begins
        os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    torch.set_num_threads(threads)
    graph = why_no_graph([network, loss], device, trainer)
    precision, why = trainer.get("precision", "auto"), asked
    if precision == "auto" and fixed:
        precision, why = EXACT, "as always with several devices or deterministic"
    elif precision == "auto" and head_alone:
        precision, why = EXACT, "as always where the head alone is trained"
    elif precision == "auto":
        precision, why = _choose_precision(network, batch, device, graph == "")
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{threads} thread{'s' * (threads > 1)}"
    name = f"{device.type}, {name}"
    steps = "" if graph is None else f"no CUDA graph, since {graph}" if graph else "a training step is one CUDA graph"
    return Choices(name, threads, precision, graph == "", f"{name}{why_threads}; {precision}, {why}", steps)


def _choose_threads(network: nn.Module, batch: tuple[int, ...]) -> tuple[int, str]:
    torch.set_num_threads(ALL_THREADS)
    try:
        found = _kept("threads", network, batch, CPU, lambda: _fewer_threads(Trial(network, batch, CPU), batch[0]))
    except Exception as error:  # a network that being copied does not suit
        return ALL_THREADS, f" (fewer could not be tried: {type(error).__name__})"
    if found is None:
        return ALL_THREADS, f" (fewer were not tried on a busy machine; remove {_file()} to try again)"
    threads, times = found
    return threads, f" ({times:.2f} times as fast as {ALL_THREADS})" if threads != ALL_THREADS else ""


def _choose_precision(
    network: nn.Module, batch: tuple[int, ...], device: torch.device, is_graphed: bool
) -> tuple[str, str]:
    what = f"precision{', graph' * is_graphed}"
    try:
        times = _kept(what, network, batch, device, lambda: _gains(Trial(network, batch, device, is_graphed)))
        times = None if times is None else dict(times)
    except Exception as error:  # a network that bfloat16, or being copied, does not suit
        return EXACT, f"{FAST} could not be tried: {type(error).__name__}"
    if times is None:
        return EXACT, f"since {FAST} was not tried on a busy machine; remove {_file()} to try it"
    chosen = EXACT
    for precision, gain in times.items():
        if gain >= MARGIN * times.get(chosen, 1.0):
            chosen = precision
    if chosen != EXACT:
        return chosen, f"{times[chosen]:.2f} times as fast as {EXACT} here"
    if not times:
        return EXACT, "since this GPU is slow in others"
    return EXACT, f"{listed(f'{each} is {gain:.2f}' for each, gain in times.items())} times as fast here"


class Trial:
    """A copy of the network, forward and backward on pictures of nothing; `count` of them at once, at most a batch.

    Args:
        is_graphed: time a step as a CUDA graph, without the launching of its operations.
    """

    def __init__(self, network: nn.Module, batch: tuple[int, ...], device: torch.device, is_graphed: bool = False):
        self.network, self.device, self.shape = copy.deepcopy(network).to(device).train(), device, batch[1:]
        self.is_graphed = is_graphed
        self.graphs: dict[str, tuple[torch.cuda.CUDAGraph, Tensor]] = {}
        """by precision, with the pictures that each reads"""
        self.trained = [parameter for parameter in self.network.parameters() if parameter.requires_grad]
        self.count = 2
        self.step(EXACT)
        self.count = min(batch[0], max(2, int(2 * STEP / self.step(EXACT))))
        self.graphs = {}

    def step(self, precision: str) -> float:
        """Its seconds."""
        with (
            torch.random.fork_rng([self.device] if self.device.type == "cuda" else []),
            torch.enable_grad(),
            step_context(precision),
        ):
            pixels = torch.zeros(self.count, *self.shape, dtype=torch.uint8, device=self.device)
            if self.is_graphed and precision not in self.graphs:
                self._work(precision, pixels)
                graph = torch.cuda.CUDAGraph()
                with torch.cuda.graph(graph, capture_error_mode="thread_local"):
                    self._work(precision, pixels)
                self.graphs[precision] = graph, pixels
            if self.device.type == "cuda":
                torch.cuda.synchronize(self.device)
            started = time.perf_counter()
            if self.is_graphed:
                self.graphs[precision][0].replay()
            else:
                self._work(precision, pixels)
            if self.device.type == "cuda":
                torch.cuda.synchronize(self.device)
            return time.perf_counter() - started

    def _work(self, precision: str, pixels: Tensor) -> None:
        with forward_context(precision, self.device):
            loss = self.network(preprocess_of(self.network)(pixels)).float().square().mean()
        torch.autograd.grad(loss, self.trained, allow_unused=True)


def times_as_fast(step: Callable[[], float], other: Callable[[], float]) -> float:
    """How many times as fast the other is, tried in turn: by the shortest of each, since a neighbour only adds."""
    seconds: list[tuple[float, float]] = []
    started = time.perf_counter()
    while len(seconds) < 2 or (len(seconds) < TURNS and time.perf_counter() - started < BUDGET):
        seconds.append((step(), other()))
    # The first of each pays for what is set up once.
    one, two = (min(column) for column in zip(*seconds[1:], strict=True))
    return round(one / two, 3)


def _gains(trial: Trial) -> dict[str, float] | None:
    """How many times as fast as exact float32 each lower precision is that the device has, the highest first.

    None on a busy machine.
    """
    lower = [FAST]
    if trial.device.type == "cuda":  # TF32 came with Ampere, and bfloat16
        lower = [TF32, FAST] if torch.cuda.get_device_capability(trial.device) >= (8, 0) else []
    is_busy = _watch_others()
    found = {each: times_as_fast(lambda: trial.step(EXACT), functools.partial(trial.step, each)) for each in lower}
    return None if trial.device.type == "cpu" and is_busy() else found


def _fewer_threads(trial: Trial, batch_size: int) -> tuple[int, float] | None:
    """Threads, halved as long as that helps, and how many times as fast as all of them; None on a busy machine."""
    if trial.count < batch_size:  # a step so slow that there is work for all
        return ALL_THREADS, 1.0

    def step(threads: int) -> float:
        torch.set_num_threads(threads)
        trial.step(EXACT)  # while threads come and go
        return trial.step(EXACT)

    def gain(threads: int, fewer: int) -> float:
        return times_as_fast(lambda: step(threads), lambda: step(fewer))

    is_busy = _watch_others()
    best, fewer = ALL_THREADS, ALL_THREADS // 2
    while fewer and (times := gain(best, fewer)) > 1 / MARGIN:
        best, fewer = fewer if times > 1 else best, fewer // 2
    times = gain(ALL_THREADS, best) if best != ALL_THREADS else 1.0
    if is_busy():
        return None
    return (best, times) if times >= MARGIN else (ALL_THREADS, 1.0)


def _watch_others() -> Callable[[], bool]:
    """Whether from now on other programs have taken so much that a trial says nothing."""
    busy, started = _busy_seconds(), time.perf_counter()
    return lambda: _busy_seconds() - busy > BUSY * (os.cpu_count() or 1) * max(time.perf_counter() - started, TICKS)


def _busy_seconds() -> float:
    """Of all cores together, and of other programs alone."""
    everyone, own = psutil.cpu_times(), psutil.Process().cpu_times()
    # Linux counts what a guest system takes as `user` too.
    apart = sum(getattr(everyone, name, 0.0) for name in ("idle", "iowait", "guest", "guest_nice"))
    return sum(everyone) - apart - own.user - own.system


def _kept(what: str, network: nn.Module, batch: tuple[int, ...], device: torch.device, trial: Callable[[], Any]) -> Any:
    """What the cache has from an earlier trial of this network, else what one finds now.

    Of runs that begin at once one tries, and the others wait for it: they would disturb each other, and choose apart.
    """
    file, key = _file(), _key(what, network, batch, device)
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError, Timeout):
            file.parent.mkdir(parents=True, exist_ok=True)
            stack.enter_context(FileLock(file.with_suffix(".lock"), timeout=PATIENCE))
        known = _read(file)
        if key not in known:
            known[key] = trial()
            with contextlib.suppress(OSError):  # a home that cannot be written: the next run tries again
                write_json(file, _read(file) | {key: known[key]})
        return known[key]


def _file() -> Path:
    return cache_folder() / "choices.json"


def _read(file: Path) -> dict[str, Any]:
    try:
        known = read_json(file)
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def _key(what: str, network: nn.Module, batch: tuple[int, ...], device: torch.device) -> str:
    chip = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{_processor()} {torch.get_num_threads()}"
    trained = sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)
    facts = (what, repr(network), trained, batch, preprocess_of(network).image_size, chip, torch.__version__)
    return hashlib.blake2b(repr(facts).encode(), digest_size=16).hexdigest()


def _processor() -> str:
    """Its name, and what it can do: machines behind one name differ in their instructions."""
    return f"{platform.processor() or platform.machine()} {torch.backends.cpu.get_cpu_capability()} {platform.node()}"
