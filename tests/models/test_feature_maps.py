"""Kernels, feature maps and silent units are those that a direct computation finds."""

import torch
from torch import nn

from viewfinder.models.custom_cnn import CustomCNN
from viewfinder.models.feature_maps import compute_feature_maps, find_kernels, find_map_layer
from viewfinder.models.layers import list_layers
from viewfinder.models.mlp import MLP
from viewfinder.models.silent_units import SilentUnits, find_silent_units
from viewfinder.models.simple_cnn import SimpleCNN


def test_the_kernels_are_the_first_weights_and_those_of_a_perceptron_have_the_shape_of_the_image() -> None:
    cnn, perceptron = SimpleCNN(3, 4, image_size=8), MLP(3, 4, image_size=8, widths=[6])
    for network, expected, shape in (
        (cnn, cnn.features[0].weight, (10, 3, 3, 3)),
        (perceptron, perceptron.layers[1].weight, (6, 3, 8, 8)),
    ):
        found = find_kernels(network, list_layers(network, 3))
        assert found is not None
        assert found[1].shape == shape
        torch.testing.assert_close(found[1].flatten(1), expected.detach().flatten(1))


def test_the_maps_of_each_block_are_those_of_a_truncated_network() -> None:
    torch.manual_seed(0)
    network, image = CustomCNN(3, 4).eval(), torch.rand(1, 3, 32, 32)
    maps = compute_feature_maps(network, image)
    assert list(maps) == ["features.0", "features.1", "features.2", "features.3"]
    for position, values in enumerate(maps.values(), 1):
        torch.testing.assert_close(values, network.features[:position](image)[0].detach())


def test_a_perceptron_has_no_maps() -> None:
    network, image = MLP(3, 4, image_size=8).eval(), torch.rand(1, 3, 8, 8)
    assert compute_feature_maps(network, image) == {}
    assert find_map_layer(network, image) is None


def test_the_layer_for_grad_cam_of_the_tutorials_networks_is_the_last_one_before_the_pool() -> None:
    image = torch.rand(1, 3, 32, 32)
    assert find_map_layer(SimpleCNN(3, 4).eval(), image) == "features.2"
    assert find_map_layer(CustomCNN(3, 4).eval(), image) == "features.3.5"


class Twice(nn.Module):
    """A network whose ReLU is called twice; units 1 of the first call and 0 of the second never fire."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.relu = nn.Conv2d(1, 3, 1), nn.Linear(3, 2), nn.ReLU()
        for parameter in self.parameters():
            nn.init.zeros_(parameter)
        with torch.no_grad():
            self.first.weight[:, 0, 0, 0] = torch.tensor([1.0, -1.0, -1.0])
            self.first.bias[:] = torch.tensor([0.0, 0.0, 0.75])
            self.second.bias[:] = torch.tensor([0.0, 1.0])

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.relu(self.second(self.relu(self.first(images)).mean((2, 3))))


def test_units_that_never_fire_are_found_over_all_batches_and_calls() -> None:
    bright, dark = torch.ones(2, 1, 3, 3), torch.full((1, 1, 3, 3), 0.5)
    network = Twice().eval()
    found = find_silent_units(network, iter([bright, dark]))
    assert found == [SilentUnits("relu, call 1", 3, [1]), SilentUnits("relu, call 2", 2, [0])]
    assert find_silent_units(network, [bright])[0].silent == [1, 2]  # the third unit fires on dark images alone
