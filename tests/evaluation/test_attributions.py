"""Grad-CAM and occlusion are what their definitions say."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from viewfinder.evaluation.attributions import compute_grad_cam, compute_occlusion
from viewfinder.models.custom_cnn import CustomCNN
from viewfinder.models.feature_maps import find_map_layer
from viewfinder.models.pretrained import Pretrained
from viewfinder.models.simple_cnn import SimpleCNN


def grad_cam_by_definition(network: nn.Module, layer: nn.Module, image: Tensor, label: int) -> Tensor:
    """Equations 1 and 2 of Selvaraju et al. 2017, divided by the largest value."""
    kept: list[Tensor] = []
    handle = layer.register_forward_hook(lambda _, __, output: kept.append(output) or output.clone())
    logit = network(image.clone().requires_grad_(True))[0, label]
    handle.remove()
    (slopes,) = torch.autograd.grad(logit, kept[0])
    weights = slopes[0].mean((1, 2))
    heat = (weights[:, None, None] * kept[0][0]).sum(0).relu().detach()
    return heat / heat.max()


NETWORKS = {
    "simple_cnn": lambda: SimpleCNN(3, 5),
    "custom_cnn": lambda: CustomCNN(3, 5),
    "densenet121": lambda: Pretrained(3, 5, "densenet121", weights=None, image_size=64),
}


@pytest.mark.parametrize("name", ["simple_cnn", "custom_cnn", pytest.param("densenet121", marks=pytest.mark.slow)])
def test_grad_cam_is_its_definition_on_a_frozen_network(name: str) -> None:
    torch.manual_seed(1)
    network: Any = NETWORKS[name]().eval().requires_grad_(False)
    image = torch.rand(1, 3, network.preprocess.image_size, network.preprocess.image_size)
    layer = network.get_submodule(find_map_layer(network, image))
    expected = [grad_cam_by_definition(network, layer, image, label) for label in range(5)]
    found = [compute_grad_cam(network, layer, image, label) for label in range(5)]
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs.nan_to_num(0), atol=1e-5, rtol=0)
    assert max(heat.max() for heat in found) == 1


def test_occlusion_is_the_drop_of_the_probability_with_a_square_painted_grey() -> None:
    torch.manual_seed(1)
    network, image, grey = (
        SimpleCNN(3, 4, image_size=20).eval(),
        torch.rand(1, 3, 20, 20),
        torch.full((1, 3, 1, 1), 0.5),
    )
    drops = compute_occlusion(network, image, grey, 2)
    with torch.no_grad():
        whole = network(image).softmax(1)[0, 2]
        for row in range(0, 20, 3):
            for column in range(0, 20, 3):
                hidden = image.clone()
                hidden[..., row : row + 3, column : column + 3] = 0.5
                drop = whole - network(hidden).softmax(1)[0, 2]
                square = drops[row : row + 3, column : column + 3]
                torch.testing.assert_close(square, drop.expand_as(square), atol=1e-6, rtol=0)
