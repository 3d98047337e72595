"""What is faster on this machine is found by trying it, once."""

import os
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import nn

from viewfinder.errors import join_names
from viewfinder.runs.logging import log_wrapped
from viewfinder.training.cuda_graph import why_no_graph
from viewfinder.training.kept_trials import choices_file, kept_trial
from viewfinder.training.precision import EXACT, FAST
from viewfinder.training.trial import MARGIN, Trial, fewer_threads, gains

CPU = torch.device("cpu")
ALL_THREADS = torch.get_num_threads()
"""What torch takes by itself, one a core."""
FEW = 4
"""Threads, up to which all are taken untried: fewer can gain little, and a neighbour's noise can feign it."""
MOST_THREADS = 256
"""A run folder may ask for so many; of far more, OpenMP dies."""


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
    if threads > (cores := max(ALL_THREADS, os.cpu_count() or 1)):
        why_threads = f" on {cores} cores, which is many times slower than one on each"
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
    def tried() -> tuple[int, float] | None:
        return fewer_threads(Trial(network, batch, CPU), batch[0], ALL_THREADS)

    torch.set_num_threads(ALL_THREADS)
    try:
        found = kept_trial("threads", network, batch, CPU, tried)
    except Exception as error:  # a network that being copied does not suit
        return ALL_THREADS, f" (fewer could not be tried: {type(error).__name__})"
    if found is None:
        return ALL_THREADS, f" (fewer were not tried on a busy machine; remove {choices_file()} to try again)"
    threads, times = found
    return threads, f" ({times:.2f} times as fast as {ALL_THREADS})" if threads != ALL_THREADS else ""


def _choose_precision(
    network: nn.Module, batch: tuple[int, ...], device: torch.device, is_graphed: bool
) -> tuple[str, str]:
    what = f"precision{', graph' * is_graphed}"
    try:
        times = kept_trial(what, network, batch, device, lambda: gains(Trial(network, batch, device, is_graphed)))
        times = None if times is None else dict(times)
    except Exception as error:  # a network that bfloat16, or being copied, does not suit
        return EXACT, f"{FAST} could not be tried: {type(error).__name__}"
    if times is None:
        return EXACT, f"since {FAST} was not tried on a busy machine; remove {choices_file()} to try it"
    chosen = EXACT
    for precision, gain in times.items():
        if gain >= MARGIN * times.get(chosen, 1.0):
            chosen = precision
    if chosen != EXACT:
        return chosen, f"{times[chosen]:.2f} times as fast as {EXACT} here"
    if not times:
        return EXACT, "since this GPU is slow in others"
    return EXACT, f"{join_names(f'{each} is {gain:.2f}' for each, gain in times.items())} times as fast here"


def log_choices(choices: Choices) -> None:
    log_wrapped(f"device   {choices.said}")
    if choices.graph_said:
        log_wrapped(f"         {choices.graph_said}")
