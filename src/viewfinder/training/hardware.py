"""Device name, threads, precision and CUDA graph of a training run, chosen from hardware, network and settings."""

import os
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import nn

from viewfinder.data.resources import count_cores
from viewfinder.runs.launcher import is_distributed, read_place
from viewfinder.runs.logging import log_wrapped
from viewfinder.training.cuda_graph import cuda_graph_blocker
from viewfinder.training.precision import FP32, resolve_precision

MAX_THREADS = 256
"""Upper limit for the number of threads in a run folder's settings; OpenMP crashes with far more."""
DEFAULT_THREADS = min(
    torch.get_num_threads(), max(count_cores(), MAX_THREADS) if "OMP_NUM_THREADS" in os.environ else count_cores()
)
"""Torch's own number of threads, one for each core, within the CPU quota of a container."""


def max_threads() -> int:
    """Return the largest number of threads that a run may have on this machine."""
    return max(MAX_THREADS, count_cores())


class HardwareSettings(NamedTuple):
    """Device, threads, precision and CUDA graph of a training run."""

    device: str
    """such as 'cpu, 2 threads' or 'cuda, NVIDIA H200'"""
    threads: int
    """torch's threads on the CPU"""
    precision: str
    """a value of `trainer.precision` other than "auto\""""
    is_graphed: bool
    """whether training steps run as a CUDA graph"""
    log_lines: list[str]
    """the settings and their reasons, for the terminal"""


def choose_settings(
    network: nn.Module,
    loss: nn.Module | None,
    device: torch.device,
    trainer: Mapping[str, Any],
    resumed: Mapping[str, Any] | None = None,
    trains_head_only: bool = False,
) -> HardwareSettings:
    """Choose the hardware settings of a training run; equal commands on equal machines get equal settings.

    Args:
        loss: the loss function, which is part of a CUDA graph.
        trainer: the trainer group's settings; "auto" precision and `threads=None` are resolved here.
        resumed: run.json of a resumed run, which keeps its threads and precision; None for a new run.
        trains_head_only: whether only the head trains, on cached features; it is small and stays in float32.
    """
    precision, reason = trainer.get("precision", "auto"), "trainer.precision"
    threads = trainer.get("threads")
    if resumed is not None and "threads" in resumed:
        precision, reason = resumed.get("precision", FP32), "as before"
        threads = min(resumed["threads"], MAX_THREADS)
    if threads is None:
        threads = count_threads(trainer.get("devices", 1)) if device.type == "cpu" else DEFAULT_THREADS
    if precision == "auto":
        precision, reason = resolve_precision(network, device, trainer, trains_head_only)
    blocker = cuda_graph_blocker([network, loss], device, {**trainer, "precision": precision})
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else _count_threads(threads)
    name = f"{device.type}, {name}"
    processes = _describe_processes(trainer.get("devices", 1), trainer.get("num_nodes", 1))
    lines = [f"device   {name}{processes}{_warn_of_oversubscription(threads)}", f"precision  {precision} ({reason})"]
    if blocker is not None:
        lines.append(
            f"         no CUDA graph: {blocker}" if blocker else "         one CUDA graph for each training step"
        )
    return HardwareSettings(name, threads, precision, blocker == "", lines)


def count_node_cores() -> int:
    """Return the number of cores that all processes of a run may use on this node.

    srun may bind each of its tasks to cores of its own.
    """
    place = read_place()
    on_node = os.environ.get("SLURM_CPUS_ON_NODE", "") if place is not None and place.launcher == "srun" else ""
    return max(count_cores(), int(on_node) if on_node.isdecimal() else 0)


def count_threads(devices: int | str) -> int:
    """Return the number of torch's threads in each of a node's processes on the CPU: together, one for each core."""
    is_bound = count_node_cores() > count_cores()
    return max(1, DEFAULT_THREADS // devices) if isinstance(devices, int) and not is_bound else DEFAULT_THREADS


def _count_threads(threads: int) -> str:
    return f"{threads} thread{'s' * (threads > 1)}"


def _describe_processes(devices: int | str, nodes: int) -> str:
    if not is_distributed(devices, nodes):
        return ""
    count = f"{devices * nodes} processes" if isinstance(devices, int) else "all devices"
    return f", in each of {count}"


def _warn_of_oversubscription(threads: int) -> str:
    cores = count_cores()
    return f" on {cores} cores, which is many times slower than one thread per core" if threads > cores else ""


def log_settings(settings: HardwareSettings) -> None:
    for line in settings.log_lines:
        log_wrapped(line)
