"""A few training steps, to see which way of taking them is faster on this machine."""

import copy
import functools
import os
import time
from collections.abc import Callable

import psutil
import torch
from torch import Tensor, nn

from viewfinder.data.preprocess import get_preprocess
from viewfinder.training.cuda_graph import capture
from viewfinder.training.precision import EXACT, FAST, TF32, forward_context, step_context

MARGIN = 1.2
"""How many times as fast fewer threads, or a lower precision, must be before all threads, or a higher one, are left."""
BUDGET = 0.25
"""Seconds that trying one against another may take, about."""
STEP = 0.04
"""Seconds that one step of it should take; a slow network is tried with fewer pictures."""
TURNS = 40
"""Of a step and another, at most."""
BUSY = 0.25
"""Of all cores' time; where other programs take more, a trial says nothing."""
TICKS = 0.1
"""Seconds in which that can be told: it is counted in hundredths."""


class Trial:
    """A copy of the network, forward and backward on pictures of nothing; `count` of them at once, at most a batch.

    Args:
        is_graphed: time a step as a CUDA graph, without the launching of its operations, if it can be one.
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
                try:
                    graph, _ = capture(lambda: self._work(precision, pixels), self.device)
                    self.graphs[precision] = graph, pixels
                except RuntimeError:  # as it will in training, which then goes without
                    self.is_graphed, self.graphs = False, {}
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
            loss = self.network(get_preprocess(self.network)(pixels)).float().square().mean()
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


def gains(trial: Trial) -> dict[str, float] | None:
    """How many times as fast as exact float32 each lower precision is that the device has, the highest first.

    None on a busy machine.
    """
    lower = [FAST]
    if trial.device.type == "cuda":  # TF32 came with Ampere, and bfloat16
        lower = [TF32, FAST] if torch.cuda.get_device_capability(trial.device) >= (8, 0) else []
    is_busy = _watch_others()
    found = {each: times_as_fast(lambda: trial.step(EXACT), functools.partial(trial.step, each)) for each in lower}
    return None if trial.device.type == "cpu" and is_busy() else found


def fewer_threads(trial: Trial, batch_size: int, all_threads: int) -> tuple[int, float] | None:
    """Threads, halved as long as that helps, and how many times as fast as all of them; None on a busy machine."""
    if trial.count < batch_size:  # a step so slow that there is work for all
        return all_threads, 1.0

    def step(threads: int) -> float:
        torch.set_num_threads(threads)
        trial.step(EXACT)  # while threads come and go
        return trial.step(EXACT)

    def gain(threads: int, fewer: int) -> float:
        return times_as_fast(lambda: step(threads), lambda: step(fewer))

    is_busy = _watch_others()
    best, fewer = all_threads, all_threads // 2
    while fewer and (times := gain(best, fewer)) > 1 / MARGIN:
        best, fewer = fewer if times > 1 else best, fewer // 2
    times = gain(all_threads, best) if best != all_threads else 1.0
    if is_busy():
        return None
    return (best, times) if times >= MARGIN else (all_threads, 1.0)


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
