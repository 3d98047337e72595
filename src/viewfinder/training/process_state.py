"""Settings of the whole process that a training run changes, restored for the notebook or program that called it."""

import contextlib
import logging
import os
import random
import warnings
from collections.abc import Iterator

import numpy as np
import torch

LOGGERS = ("pytorch_lightning", "lightning_fabric")
"""Loggers that a trainer silences."""
VARIABLES = ("OMP_NUM_THREADS", "CUBLAS_WORKSPACE_CONFIG", "PYTORCH_NVML_BASED_CUDA_CHECK")
"""Environment variables that a trainer sets or removes."""


@contextlib.contextmanager
def restored_process_state() -> Iterator[None]:
    """Restore threads, determinism, random generators, warning filters and log levels at the end of this block.

    Otherwise a program that draws a learning rate for each training run would draw the same value each time. A GPU's
    generators and its TF32 modes stay as the run left them, because reading them would initialize CUDA.
    """
    threads, python_state, numpy_state, torch_state = (
        torch.get_num_threads(), random.getstate(), np.random.get_state(), torch.get_rng_state(),
    )  # fmt: skip
    is_deterministic = torch.are_deterministic_algorithms_enabled()
    warns_only = torch.is_deterministic_algorithms_warn_only_enabled()
    levels = {name: logging.getLogger(name).level for name in LOGGERS}
    variables = {name: os.environ.get(name) for name in VARIABLES}
    with warnings.catch_warnings():
        try:
            yield
        finally:
            torch.set_num_threads(threads)
            torch.use_deterministic_algorithms(is_deterministic, warn_only=warns_only)
            random.setstate(python_state)
            np.random.set_state(numpy_state)
            torch.set_rng_state(torch_state)
            for name, level in levels.items():
                logging.getLogger(name).setLevel(level)
            for name, value in variables.items():
                os.environ.pop(name, None)
                if value is not None:
                    os.environ[name] = value
