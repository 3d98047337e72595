"""The tutorial's networks have the published layers and parameters."""

from typing import Any

import numpy as np
import pytest
import torch
from conftest import noise, raises_user_error
from torch import Tensor, nn

from viewfinder.models.custom_cnn import CustomCNN
from viewfinder.models.mlp import MLP
from viewfinder.models.simple_cnn import SimpleCNN


def parameters_of(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


NETWORKS: dict[type[nn.Module], int] = {
    MLP: (3072 * 512 + 512) + (512 * 256 + 256) + (256 * 10 + 10),
    SimpleCNN: (3 * 9 * 10 + 10) + (10 * 9 * 10 + 10) + (10 * 16 * 16 * 10 + 10),
    CustomCNN: sum(
        (9 * a * b + b) + 2 * b + (9 * b * b + b) + 2 * b for a, b in ((3, 32), (32, 64), (64, 128), (128, 256))
    )
    + (1024 * 512 + 512 + 2 * 512)
    + (512 * 1024 + 1024 + 2 * 1024)
    + (1024 * 10 + 10),
}
"""Weights and biases of each layer, and two parameters a channel of batch norm, counted by hand."""


@pytest.mark.parametrize("network", NETWORKS)
def test_a_network_of_the_tutorial_has_the_hand_counted_parameters(network: type[nn.Module]) -> None:
    built = network(channels=3, classes=10)
    assert parameters_of(built) == NETWORKS[network]
    assert all(p.requires_grad for p in built.parameters())


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize(("channels", "classes", "side"), [(3, 10, 32), (1, 2, 16), (3, 7, 45)])
def test_a_network_maps_pictures_to_one_logit_a_class(
    network: type[nn.Module], channels: int, classes: int, side: int
) -> None:
    built = network(channels=channels, classes=classes, image_size=side)
    pixels = torch.from_numpy(noise(5, channels, 9, 12))
    logits = built(built.preprocess(pixels))
    assert logits.shape == (5, classes)
    assert logits.isfinite().all()


def conv(a: int, b: int) -> list[nn.Module]:
    return [nn.Conv2d(a, b, 3, padding=1), nn.ReLU()]


def sharing(plain: nn.Sequential, network: nn.Module) -> nn.Sequential:
    """`plain` with the network's values, in the order in which both hold them."""
    theirs, ours = network.state_dict(), plain.state_dict()
    assert [tuple(v.shape) for v in theirs.values()] == [tuple(v.shape) for v in ours.values()]
    plain.load_state_dict(dict(zip(ours, theirs.values(), strict=True)))
    return plain


def assert_same_outputs(plain: nn.Module, network: nn.Module, images: Tensor) -> None:
    for training in (False, True):
        for each in (plain, network):
            each.train(training)
        torch.manual_seed(7)  # the same dropout
        expected = plain(images)
        torch.manual_seed(7)
        torch.testing.assert_close(network(images), expected, rtol=1e-5, atol=1e-5)


def test_custom_cnn_is_the_tutorials_sequence_of_layers() -> None:
    layers: list[nn.Module] = []
    for a, b in ((3, 32), (32, 64), (64, 128), (128, 256)):
        layers += [*conv(a, b), nn.BatchNorm2d(b), *conv(b, b), nn.BatchNorm2d(b), nn.MaxPool2d(2), nn.Dropout(0.25)]
    layers.append(nn.Flatten())
    for a, b in ((1024, 512), (512, 1024)):
        layers += [nn.Linear(a, b), nn.ReLU(), nn.BatchNorm1d(b), nn.Dropout(0.5)]
    network = CustomCNN(3, 10)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):  # statistics that show where they are applied
            nn.init.uniform_(module.running_mean, -1, 1)
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 2)
            nn.init.uniform_(module.bias, -1, 1)
    plain = sharing(nn.Sequential(*layers, nn.Linear(1024, 10)), network)
    assert_same_outputs(plain, network, torch.rand(6, 3, 32, 32))


def test_simple_cnn_is_the_tutorials_sequence_of_layers() -> None:
    network = SimpleCNN(3, 10)
    plain = nn.Sequential(*conv(3, 10), *conv(10, 10), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(2560, 10))
    plain = sharing(plain, network)
    images = torch.rand(6, 3, 32, 32)
    assert_same_outputs(plain, network, images)
    for each in (plain, network):
        nn.functional.cross_entropy(each(images), torch.arange(6)).backward()
    for theirs, ours in zip(plain.parameters(), network.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-5, atol=1e-6)


def test_mlp_is_linear_layers_with_relu_between_them() -> None:
    network = MLP(3, 10)
    values = [p.detach().numpy().astype(float) for p in network.parameters()]
    images = torch.rand(6, 3, 32, 32)
    hidden = images.numpy().reshape(6, -1).astype(float)
    for weight, bias in zip(values[::2], values[1::2], strict=True):
        hidden = hidden @ weight.T + bias
        hidden = np.maximum(hidden, 0) if len(bias) != 10 else hidden
    np.testing.assert_allclose(network(images).detach(), hidden, atol=1e-5)


def test_custom_cnn_refuses_pictures_that_its_blocks_would_halve_to_nothing() -> None:
    with raises_user_error(r"model\.image_size = 15 must be at least 16"):
        CustomCNN(3, 10, image_size=15)
    assert CustomCNN(3, 10, image_size=16).eval()(torch.rand(1, 3, 16, 16)).shape == (1, 10)


@pytest.mark.parametrize("pooling", ["max", "average", "stride"])
@pytest.mark.parametrize(("padding", "kernel_size"), [("same", 1), ("same", 5), ("valid", 2), ("valid", 3)])
def test_custom_cnn_takes_the_smallest_images_that_its_blocks_leave_pixels_of_and_no_smaller(
    pooling: Any, padding: Any, kernel_size: int
) -> None:
    options: dict[str, Any] = {"padding": padding, "kernel_size": kernel_size, "pooling": pooling, "hidden": []}
    smallest = 0
    for side in range(1, 24):
        layers: list[nn.Module] = []
        for a, b in ((1, 2), (2, 3)):
            border = (kernel_size - 1) // 2 if padding == "same" else 0
            stride = 2 if pooling == "stride" else 1
            pool = {"max": nn.MaxPool2d(2), "average": nn.AvgPool2d(2), "stride": nn.Identity()}[pooling]
            layers += [nn.Conv2d(a, b, kernel_size, 1, border), nn.ReLU(), nn.BatchNorm2d(b)]
            layers += [nn.Conv2d(b, b, kernel_size, stride, border), nn.ReLU(), nn.BatchNorm2d(b), pool]
        plain = nn.Sequential(*layers, nn.Flatten()).eval()
        images = torch.rand(1, 1, side, side)
        try:
            features = plain(images).shape[1]
        except RuntimeError:  # a layer has no pixel left
            continue
        smallest = smallest or side
        network = CustomCNN(1, 2, image_size=side, widths=[2, 3], **options)
        if side in (smallest, smallest + 1, smallest + 5):
            assert network.head[1].in_features == features
            states = (network.features.state_dict().values(), plain.state_dict().values())
            for ours, theirs in zip(*states, strict=True):
                ours.copy_(theirs)
            torch.testing.assert_close(network.eval().features(images).flatten(1), plain(images))
    if smallest > 1:
        with raises_user_error(rf"must be at least {smallest}: each of the 2 blocks halves the image"):
            CustomCNN(1, 2, image_size=smallest - 1, widths=[2, 3], **options)


def test_custom_cnn_without_batch_norm_has_the_other_layers() -> None:
    def list_layers(network: nn.Module) -> list[str]:
        return [type(module).__name__ for module in network.modules() if not [*module.children()]]

    layers = [name for name in list_layers(CustomCNN(3, 10)) if not name.startswith("BatchNorm")]
    assert list_layers(CustomCNN(3, 10, batch_norm=False)) == layers


def test_custom_cnn_refuses_even_kernels_with_same_padding() -> None:
    with raises_user_error(r"model\.kernel_size = 4 must be odd with model\.padding=same"):
        CustomCNN(3, 10, kernel_size=4)
