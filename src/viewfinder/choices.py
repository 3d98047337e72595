"""What is faster on this machine is found by trying it, once."""

import copy
import hashlib
import platform
import statistics
import time
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from viewfinder.cache import cache_folder
from viewfinder.loop import forward_context
from viewfinder.preprocess import preprocess_of
from viewfinder.run_folder import read_json, write_json

EXACT = "32-true"
FAST = "bf16-mixed"
MARGIN = 1.2
"""How many times as fast bfloat16 must be before float32 is left for it."""
BUDGET = 0.6
"""Seconds that trying may take, about."""
STEP = 0.04
"""Seconds that one step of it should take; a slow network is tried with fewer pictures."""


class Choice(NamedTuple):
    precision: str
    reason: str


def choose_precision(network: nn.Module, batch: tuple[int, ...], device: torch.device, wanted: str) -> Choice:
    """The precision to train in: what is wanted, or for "auto" the faster one by a clear margin.

    What was found is kept for this machine, so that equal commands make equal choices; in
    precision.json in the cache folder, which may be removed.

    Args:
        batch: shape of a training batch of uint8 pictures, (N, C, H, W).
        wanted: "auto", or a precision as Lightning names it.
    """
    if wanted != "auto":
        return Choice(wanted, "as asked")
    file = cache_folder() / "precision.json"
    known = _read(file)
    key = _key(network, batch, device)
    if key not in known:
        try:
            known[key] = _speedup(copy.deepcopy(network).to(device), batch, device)
        except Exception as error:  # a network that bfloat16, or being copied, does not suit
            return Choice(EXACT, f"{FAST} could not be tried: {type(error).__name__}")
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            write_json(file, _read(file) | {key: known[key]})
        except OSError:
            pass  # a home that cannot be written: the next run tries again
    times = float(known[key])
    if times >= MARGIN:
        return Choice(FAST, f"{times:.2f} times as fast as {EXACT} here")
    return Choice(EXACT, f"{FAST} is {times:.2f} times as fast here")


def _read(file: Path) -> dict[str, Any]:
    try:
        known = read_json(file)
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def _key(network: nn.Module, batch: tuple[int, ...], device: torch.device) -> str:
    chip = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{_processor()} x{torch.get_num_threads()}"
    facts = (repr(network), batch, preprocess_of(network).image_size, chip, torch.__version__)
    return hashlib.blake2b(repr(facts).encode(), digest_size=16).hexdigest()


def _processor() -> str:
    """Its name, and what it can do: machines behind one name differ in their instructions."""
    return f"{platform.processor() or platform.machine()} {torch.backends.cpu.get_cpu_capability()} {platform.node()}"


def _speedup(network: nn.Module, batch: tuple[int, ...], device: torch.device) -> float:
    """How many times as fast a step is in bfloat16 as in float32: a ratio of medians, tried in turn."""
    if device.type == "cuda" and not torch.cuda.is_bf16_supported():
        return 0.0
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    preprocess = preprocess_of(network)

    def step(precision: str, count: int) -> float:
        pixels = torch.zeros(count, *batch[1:], dtype=torch.uint8, device=device)
        started = time.perf_counter()
        with forward_context(precision, device):
            loss = network(preprocess(pixels)).float().square().mean()
        torch.autograd.grad(loss, trained, allow_unused=True)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter() - started

    network.train()
    with torch.random.fork_rng([device] if device.type == "cuda" else []), torch.enable_grad():
        step(EXACT, 2)
        count = min(batch[0], max(2, int(2 * STEP / step(EXACT, 2))))
        seconds: list[tuple[float, float]] = []
        started = time.perf_counter()
        while len(seconds) < 2 or (len(seconds) < 9 and time.perf_counter() - started < BUDGET):
            seconds.append((step(EXACT, count), step(FAST, count)))
    # The first of each pays for what is set up once.
    exact, fast = (statistics.median(column) for column in zip(*seconds[1:], strict=True))
    return round(exact / fast, 3)
