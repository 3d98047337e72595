"""Process-wide settings of OpenMP, Python's garbage collector and the C library."""

import atexit
import contextlib
import ctypes
import gc
import importlib
import os
import platform
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h
MAX_MMAP_THRESHOLD = 32 * 2**20
"""Bytes; glibc accepts no larger threshold."""
SPIN_COUNT = 8_000
"""Iterations that an idle OpenMP thread spins before it sleeps."""
SIGNAL = "scipy.signal"


def configure_threads() -> None:
    """Let idle OpenMP threads sleep early, unless OMP_WAIT_POLICY is set; call this before torch is imported.

    By default each idle thread spins 300,000 times. Two processes with a thread on every core then block each other:
    their steps took up to seventy times as long, and six times with this setting. A single process should find its
    threads awake at the next step: with 5,000 spins it often did not, and took a tenth longer. See GOMP_SPINCOUNT in
    libgomp's manual.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", str(SPIN_COUNT))


@contextlib.contextmanager
def fast_imports() -> Iterator[None]:
    """Import torch and Lightning within this block without garbage collection, then or at exit.

    They create half a million permanent objects. Collecting garbage among them took 0.7 s of 3 s of imports, and 1 s
    at exit. torchmetrics also imports scipy.signal, half a second, to look for a single name that it does not need.
    """
    if "torch" in sys.modules or not gc.isenabled():
        yield
        return
    gc.disable()
    placeholder = _LazySignal(SIGNAL)
    sys.modules.setdefault(SIGNAL, placeholder)
    try:
        yield
    finally:
        placeholder.remove()
        gc.freeze()
        gc.enable()
        atexit.register(gc.freeze)


class _LazySignal(ModuleType):
    """Placeholder of scipy.signal until any other name than `hamming` is requested."""

    hamming = None

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # requested by the import system
            raise AttributeError(name)
        self.remove()
        return getattr(importlib.import_module(SIGNAL), name)

    def remove(self) -> None:
        if sys.modules.get(SIGNAL) is self:
            del sys.modules[SIGNAL]


def skip_gpu_checks() -> None:
    """Without a GPU, keep torch from searching for one at every optimizer step.

    Lightning sets PYTORCH_NVML_BASED_CUDA_CHECK. torch then tries to load NVIDIA's management library at every step,
    even if it is missing, which costs 0.1 ms.
    """
    import torch

    if not torch.cuda.is_available():
        os.environ.pop("PYTORCH_NVML_BASED_CUDA_CHECK", None)


def keep_freed_memory() -> None:
    """Keep freed memory in the process for the next training step.

    By default glibc returns large blocks to the system at once and requests them again in the next step, which costs a
    tenth of a step or more. Without glibc this does nothing. See mallopt(3).
    """
    if platform.libc_ver()[0] != "glibc":
        return
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(M_MMAP_THRESHOLD, MAX_MMAP_THRESHOLD)
        libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
