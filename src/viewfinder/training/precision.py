"""The precisions of `trainer.precision`, and where they hold."""

import contextlib
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any

import torch

EXACT, FAST, HALF = "32-true", "bf16-mixed", "16-mixed"
AUTOCAST = {FAST: torch.bfloat16, HALF: torch.float16}
TF32 = "tf32"
"""Float32 whose products a GPU's tensor cores make of 10 bits' fractions."""


def forward_context(precision: str, device: torch.device) -> AbstractContextManager[Any]:
    """Where a forward pass runs in a precision of `trainer.precision`; the weights are float32."""
    # For one step: autocast keeps its copies of the weights until it ends, and a step changes the weights.
    dtype = AUTOCAST.get(precision)
    return contextlib.nullcontext() if dtype is None else torch.autocast(device.type, dtype)


@contextlib.contextmanager
def step_context(precision: str) -> Iterator[None]:
    """Where training steps run in a precision, backward passes too; outside, float32 is exact."""
    set_tf32(precision == TF32)
    try:
        yield
    finally:
        set_tf32(False)


def set_tf32(is_on: bool) -> None:
    """Whether a GPU may take TF32 for float32, in matrix products and convolutions."""
    if torch.cuda.is_available():
        kind = "tf32" if is_on else "ieee"
        torch.backends.cuda.matmul.fp32_precision = kind
        torch.backends.cudnn.conv.fp32_precision = kind  # type: ignore[attr-defined]
