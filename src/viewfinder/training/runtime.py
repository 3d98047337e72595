"""What the process asks of Python, of the C library and of OpenMP."""

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

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of malloc.h
LARGEST = 32 * 2**20
"""Bytes; glibc takes no larger threshold for blocks that are mapped one by one."""
SPINS = 8_000
"""Turns that a thread waits for its next work before it sleeps."""
SIGNAL = "scipy.signal"


def settle_threads() -> None:
    """Let torch's idle threads sleep soon; to be called before torch is imported, unless the user has chosen.

    By default each spins for 300,000 turns. Two processes with a thread on every core then take each other's turns:
    their steps can become seventy times as slow, where with this they become six times. A process alone has to find
    its threads awake at its next step: with 5,000 turns it often did not, and took a tenth longer. See GOMP_SPINCOUNT
    in libgomp's manual.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", str(SPINS))


@contextlib.contextmanager
def importing() -> Iterator[None]:
    """Where torch, Lightning and the like are imported: without looking for garbage, then or when the process ends.

    They make half a million objects that stay. Python looks through them whenever there are a quarter more, and through
    all of them several times as it ends: that was 0.7 s of importing for 3 s, and 1 s after a command's last line.
    Half a second more went to scipy.signal, in which torchmetrics looks for a name that another package misses.
    """
    if "torch" in sys.modules or not gc.isenabled():
        yield
        return
    gc.disable()
    stand_in = _Signal(SIGNAL)
    sys.modules.setdefault(SIGNAL, stand_in)
    try:
        yield
    finally:
        stand_in.leave()
        gc.freeze()
        gc.enable()
        atexit.register(gc.freeze)


class _Signal(ModuleType):
    """In the place of scipy.signal, until somebody asks for anything else than torchmetrics does."""

    hamming = None

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # as Python's importing does
            raise AttributeError(name)
        self.leave()
        return getattr(importlib.import_module(SIGNAL), name)

    def leave(self) -> None:
        if sys.modules.get(SIGNAL) is self:
            del sys.modules[SIGNAL]


def look_for_no_gpu() -> None:
    """Where there is no GPU, let torch know that at once when an optimizer asks, which each does at every step.

    By Lightning's wish (PYTORCH_NVML_BASED_CUDA_CHECK) torch would load NVIDIA's management library for the answer, and
    it does not remember that there is none: 0.1 ms a step.
    """
    import torch

    if not torch.cuda.is_available():
        os.environ.pop("PYTORCH_NVML_BASED_CUDA_CHECK", None)


def keep_freed_memory() -> None:
    """Let the process keep what it frees, so that a training step finds its memory where the last one left it.

    By default glibc gives large blocks back to the system at once and asks for them again in the next step, which
    costs a tenth of a step and more. Elsewhere than with glibc this does nothing. See mallopt(3).
    """
    if platform.libc_ver()[0] != "glibc":
        return
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(M_MMAP_THRESHOLD, LARGEST)
        libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
