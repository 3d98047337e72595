"""Precision of training: chosen from hardware and network, applied to forward passes and steps.

training/hardware.py adds threads, device and CUDA graph.
"""

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import nn

from viewfinder.models.summary import get_architecture
from viewfinder.runs.launcher import is_distributed
from viewfinder.training.torch_internals import has_amx, has_avx512_bf16

FP32, BF16, FP16 = "32-true", "bf16-mixed", "16-mixed"
AUTOCAST = {BF16: torch.bfloat16, FP16: torch.float16}
TF32 = "tf32"
"""Float32 whose matrix products use a GPU's tensor cores, with 10 bits of fraction."""
OWN_PACKAGES = ("torch", "torchvision", "viewfinder")
AMPERE = (8, 0)
"""Compute capability from which a GPU has TF32 and bfloat16."""

CPU_SPEEDUPS = {
    "MLP": 1.17,
    "SimpleCNN": 1.13,
    "CustomCNN": 1.45,
    "resnet50": 1.66,
    "mobilenet_v3_large": 0.89,
    "efficientnet_b0": 1.18,
    "convnext_tiny": 1.14,
    "alexnet": 1.11,
    "densenet121": 1.93,
    "inception_v3": 1.44,
    "swin_t": 1.91,
    "vgg16": 1.63,
    "vit_b_16": 1.72,
    "AirBench": 1.79,
    "CifarResNet": 1.81,
    "VisionTransformer": 1.59,
    "ConvMixer": 1.00,
}
"""Architecture -> speed of a training step in bf16-mixed relative to 32-true on a CPU with AVX512-BF16.

Measured by bench/precision.py with torch 2.14 on two cores of an AMD EPYC (Zen 5), the last four on one busy core, on
images of the size that each network expects. On a CPU, `auto` selects bf16-mixed from MIN_SPEEDUP on, and 32-true for
architectures not listed.
"""
MIN_SPEEDUP = 1.2


def resolve_precision(
    network: nn.Module, device: torch.device, trainer: Mapping[str, Any], trains_head_only: bool
) -> tuple[str, str]:
    """Return the precision that `trainer.precision=auto` selects, and the reason in a few words.

    Args:
        trainer: the trainer group's settings.
        trains_head_only: whether only the head trains, on cached features; it is small and stays in float32.
    """
    if trainer.get("deterministic"):
        return FP32, "trainer.deterministic"
    if is_distributed(trainer.get("devices", 1), trainer.get("num_nodes", 1)):
        return FP32, "several devices"
    if trains_head_only:
        return FP32, "only the head trains"
    return choose_precision(network, device)


def choose_precision(network: nn.Module, device: torch.device) -> tuple[str, str]:
    """Choose the precision for a whole network on one device, and return it with the reason in a few words.

    The choice depends on the hardware and the architecture alone, so equal machines choose equally.

    On a GPU of compute capability 8.0 or higher, networks of Viewfinder and torchvision train in bf16-mixed; other
    networks, whose layers may not support autocast, train in TF32.
    """
    if device.type == "cuda":
        major, minor = torch.cuda.get_device_capability(device)
        capability = f"GPU has compute capability {major}.{minor}"
        if (major, minor) < AMPERE:
            return FP32, capability
        return (TF32 if list_foreign_layers([network]) else BF16), capability
    if has_avx512_bf16():
        capability = "CPU has AVX512-BF16"
    elif has_amx():
        capability = "CPU has AMX"
    else:
        return FP32, "CPU has neither AVX512-BF16 nor AMX"
    name = get_architecture(network)
    if name not in CPU_SPEEDUPS:
        return FP32, f"no measurement of {name} in {BF16}"
    if CPU_SPEEDUPS[name] < MIN_SPEEDUP:
        return FP32, f"{name} gains little from {BF16}"
    return BF16, capability


def list_foreign_layers(parts: Iterable[nn.Module | None]) -> list[str]:
    """Return the sorted class names of layers from packages other than torch, torchvision and Viewfinder."""
    layers = {type(layer) for part in parts if part is not None for layer in part.modules()}
    return sorted(layer.__name__ for layer in layers if layer.__module__.partition(".")[0] not in OWN_PACKAGES)


def forward_context(precision: str, device: torch.device) -> AbstractContextManager[Any]:
    """Return a context for forward passes in a precision; weights stay float32."""
    # Entered for each step: autocast caches its copies of the weights until it exits, and a step changes the weights.
    dtype = AUTOCAST.get(precision)
    return contextlib.nullcontext() if dtype is None else torch.autocast(device.type, dtype)


@contextlib.contextmanager
def step_context(precision: str) -> Iterator[None]:
    """Run training steps, backward passes included, in a precision; outside this block TF32 is off."""
    set_tf32(precision == TF32)
    try:
        yield
    finally:
        set_tf32(False)


def set_tf32(is_on: bool) -> None:
    """Allow or forbid TF32 in matrix products and convolutions on a GPU."""
    if not torch.cuda.is_available():
        return
    if hasattr(torch.backends.cuda.matmul, "fp32_precision"):
        mode = "tf32" if is_on else "ieee"
        torch.backends.cuda.matmul.fp32_precision = mode
        torch.backends.cudnn.conv.fp32_precision = mode  # type: ignore[attr-defined]
    else:  # torch before 2.9
        torch.backends.cuda.matmul.allow_tf32 = is_on
        torch.backends.cudnn.allow_tf32 = is_on
