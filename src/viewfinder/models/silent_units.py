"""Units of ReLU layers that never fire, on any of many images."""

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from viewfinder.models.layers import observed


class SilentUnits(NamedTuple):
    """Units of one layer that are 0 on every image and at every place.

    Args:
        layer: name of the ReLU; with the number of the call, if it is called several times for an image.
        units: number of all its units: channels of feature maps, or entries of a vector.
        silent: positions of those that never fire.
    """

    layer: str
    units: int
    silent: list[int]


def find_silent_units(network: nn.Module, batches: Iterable[Tensor]) -> list[SilentUnits]:
    """Return the units that never fire of each torch.nn.ReLU and ReLU6, in the order of the calls.

    Args:
        network: in evaluation mode.
        batches: inputs of the network, (N, C, H, W) float.
    """
    fired: dict[tuple[str, int], Tensor] = {}
    calls: dict[str, int] = {}

    def record(name: str, output: Tensor | None) -> None:
        assert output is not None
        calls[name] = calls.get(name, 0) + 1
        places = [dimension for dimension in range(output.ndim) if dimension != 1]
        active, key = (output > 0).sum(places) > 0, (name, calls[name])
        fired[key] = active if key not in fired else fired[key] | active

    layers = {name: module for name, module in network.named_modules() if isinstance(module, nn.ReLU | nn.ReLU6)}
    with observed(layers, record), torch.inference_mode():
        for batch in batches:
            calls.clear()
            network(batch)
    repeated = {name for name, call in fired if call > 1}
    names = {key: f"{key[0]}, call {key[1]}" if key[0] in repeated else key[0] for key in fired}
    return [SilentUnits(names[key], len(active), (~active).nonzero()[:, 0].tolist()) for key, active in fired.items()]
