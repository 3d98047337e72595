"""Kernels of the first layer of a network, and feature maps of an image after each block."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from viewfinder.models.blocks import list_blocks
from viewfinder.models.layers import Layer, observed
from viewfinder.models.transfer import find_head


def find_kernels(network: nn.Module, layers: Sequence[Layer]) -> tuple[str, Tensor] | None:
    """Return the name and the weights of the first layer with weights, if they can be shown as images.

    Args:
        network: the network.
        layers: its layers.

    Returns:
        Kernels (n, C, H, W) of a convolution, or of a linear layer with one weight for each level of the image; None
        for any other layer.
    """
    images = next((layer.before for layer in layers if len(layer.before) == 3), (0, 0, 0))
    for layer in layers:
        weight = getattr(network.get_submodule(layer.name), "weight", None)
        if not isinstance(weight, Tensor) or weight.ndim < 2:
            continue
        weight = weight.detach().float().cpu()
        if weight.ndim == 4:
            return layer.name, weight
        if weight.ndim == 2 and weight.shape[1] == images[0] * images[1] * images[2]:
            return layer.name, weight.view(-1, *images)
        return None
    return None


def compute_feature_maps(network: nn.Module, image: Tensor) -> dict[str, Tensor]:
    """Return the feature maps after each block of a network, by the name of the last module with maps in it.

    Args:
        network: in evaluation mode.
        image: (1, C, H, W) float.

    Returns:
        Name -> (channels, h, w) float32 on the CPU; blocks without maps, such as linear layers, are left out.
    """
    modules = dict(network.named_modules())
    outputs: dict[str, Tensor] = {}

    def record(name: str, output: Tensor | None) -> None:
        if (maps := to_maps(output)) is not None:
            outputs[name] = maps[0].detach().float().cpu().clone()

    blocks = list_blocks(network, find_head(network) or _find_last(network))
    chosen = {name: modules[name] for block in blocks for name in block if name in modules}
    with observed(chosen, record), torch.inference_mode():
        network(image)
    last = [[name for name in block if name in outputs][-1:] for block in blocks]
    return {name: outputs[name] for names in last for name in names}


def to_maps(output: Tensor | None) -> Tensor | None:
    """Return the output of a layer as square feature maps, (N, C, h, w); None if it has none."""
    if output is None or output.ndim != 4:
        return None
    if output.shape[2] == output.shape[3] > 1:
        return output
    return output.permute(0, 3, 1, 2) if output.shape[1] == output.shape[2] > 1 else None


def find_map_layer(network: nn.Module, image: Tensor) -> str | None:
    """Return the layer for Grad-CAM: the last one with maps as large as those of the last convolution.

    It is the output of a residual stage, for example, or the last activation before the pools at the end.

    Args:
        network: in evaluation mode.
        image: (1, C, H, W) float.

    Returns:
        The name of a module that is called once; None if there are no maps in the second half of the layers, as in a
        multilayer perceptron or in transformers, whose only maps are those of the patches.
    """
    ended: list[tuple[str, nn.Module, int]] = []
    """modules, in the order of the ends of their calls, and the side of their maps or 0"""

    modules = dict(network.named_modules())

    def record(name: str, output: Tensor | None) -> None:
        is_map = output is not None and output.ndim == 4 and output.shape[2] == output.shape[3]
        ended.append((name, modules[name], output.shape[2] if output is not None and is_map else 0))

    with observed(modules, record), torch.inference_mode():
        network(image)
    side = _find_last_side([(module, size) for _, module, size in ended])
    names = [name for name, _, _ in ended]
    candidates = [
        position for position, (name, _, size) in enumerate(ended) if size == side > 1 and names.count(name) == 1
    ]
    if not candidates:
        return None
    weighted = [position for position, (_, module, _) in enumerate(ended) if _has_own_parameters(module)]
    before = sum(position <= candidates[-1] for position in weighted)
    return names[candidates[-1]] if 2 * before >= len(weighted) else None


def _find_last_side(ended: Sequence[tuple[nn.Module, int]]) -> int:
    """Return the side of the last maps before the pools at the end, or 0 if there are no maps larger than 1 x 1."""
    side, is_pooled = 0, False
    for module, size in ended:
        is_leaf = not any(True for _ in module.children())
        if size <= 1 or not is_leaf:
            continue
        if "Pool" in type(module).__name__ and size < side:
            is_pooled = True
        elif _has_own_parameters(module) or not is_pooled:
            side, is_pooled = size, False
    return side


def _has_own_parameters(module: nn.Module) -> bool:
    return any(True for _ in module.parameters(recurse=False))


def _find_last(network: nn.Module) -> str:
    """Return the name of the last module with parameters of its own, which computes the logits."""
    return next(
        (name for name, module in reversed([*network.named_modules()]) if name and _has_own_parameters(module)), ""
    )
