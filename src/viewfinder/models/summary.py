"""Size and cost of a network, measured with one image."""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from viewfinder.data.preprocess import get_preprocess
from viewfinder.errors import Problem, UserError, format_exception


def get_architecture(network: nn.Module) -> str:
    """Return torchvision's name of a Pretrained network, or the class name of another network."""
    return getattr(network, "architecture", type(network).__name__)


def summarise_network(
    network: nn.Module, channels: int, classes: int, is_python_object: bool = False
) -> dict[str, Any]:
    """Run one blank image through a network and count its parameters and multiply-adds.

    Lazy layers take their shapes from this image. The result has the keys of `network` in run.json.

    Args:
        is_python_object: whether Python code built the network, rather than a configuration.

    Raises:
        UserError: if the network fails on an image with this many channels, or does not return one logit per class.
    """
    size = get_preprocess(network).image_size
    name, training = get_architecture(network), network.training
    try:
        with count_flops() as counter, torch.no_grad():
            logits = network.eval()(torch.zeros(1, channels, size, size))
    except Exception as error:
        rule = f"{name} fails on an image of {channels} x {size} x {size}: {format_exception(error)}"
        remedy = "Fix that line, or use larger images with model.image_size."
        if is_python_object:
            remedy = "Fix that line, or give the network a `preprocess` of another size: Preprocess(image_size=...)."
        raise UserError("the network", [Problem("model", rule, remedy=remedy)]) from error
    if getattr(logits, "shape", None) != (1, classes):
        shape = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
        rule = f"{name} returns {shape} for one image; expected (1, {classes}), one logit per class"
        remedy = "Build the last layer with the number of `classes` that the constructor receives."
        if is_python_object:
            remedy = f"Build its last layer with {classes} outputs, for the classes of these data."
        raise UserError("the network", [Problem("model", rule, remedy=remedy)])
    network.train(training)
    return {
        "name": name,
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "multiply_adds": counter.get_total_flops() // 2,
    }


@contextlib.contextmanager
def count_flops() -> Iterator[FlopCounterMode]:
    """Count the floating-point operations in this block, those of attention as matrix products.

    torch's counter does not know the fused kernels of attention on a CPU, which are switched off.
    """
    is_fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            yield counter
    finally:
        torch.backends.mha.set_fastpath_enabled(is_fast)
