"""The layers of a network have the numbers counted by hand, and see where the gradient is."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from viewfinder.data.preprocess import Preprocess
from viewfinder.models.custom_cnn import CustomCNN
from viewfinder.models.layers import Layer, list_layers
from viewfinder.models.mlp import MLP
from viewfinder.models.pretrained import Pretrained
from viewfinder.models.simple_cnn import SimpleCNN
from viewfinder.models.summary import summarise_network
from viewfinder.reporting.inspection import format_field


def rows_of(network: nn.Module) -> list[tuple[Any, ...]]:
    return [
        (layer.name, layer.kind, layer.after, layer.parameters, layer.multiply_adds, format_field(layer.field))
        for layer in list_layers(network, 3)
    ]


def test_the_layers_of_simple_cnn_are_those_counted_by_hand() -> None:
    assert rows_of(SimpleCNN(3, 10)) == [
        ("features.0", "Conv2d", (10, 32, 32), 3 * 9 * 10 + 10, 32 * 32 * 10 * 27, "3"),
        ("features.1", "ReLU", (10, 32, 32), 0, 0, "3"),
        ("features.2", "Conv2d", (10, 32, 32), 10 * 9 * 10 + 10, 32 * 32 * 10 * 90, "5"),
        ("features.3", "MaxPool2d", (10, 16, 16), 0, 0, "6"),
        ("features.4", "ReLU", (10, 16, 16), 0, 0, "6"),
        ("head.0", "Flatten", (2560,), 0, 0, "6"),
        ("head.1", "Linear", (10,), 25_610, 25_600, "all"),
    ]
    formulas = [layer.formula for layer in list_layers(SimpleCNN(3, 10), 3) if layer.formula]
    same = "(32 - 3 + 2*1)/1 + 1 = 32"
    assert formulas == [same, same, "(32 - 2 + 2*0)/2 + 1 = 16"]


def test_the_blocks_of_custom_cnn_see_the_squares_counted_by_hand() -> None:
    # A convolution adds twice the distance of neighbouring units, a pool adds it once, and doubles it.
    layers = {layer.name: layer for layer in list_layers(CustomCNN(3, 10), 3)}
    seen = [format_field(layers[f"features.{block}.{part}"].field) for block in range(4) for part in (0, 3, 6)]
    assert seen == ["3", "5", "6", "10", "14", "16", "24", "32", "36", "52", "68", "76"]
    costs = [layer.multiply_adds for layer in layers.values() if layer.kind == "Conv2d"]
    widths, sides = [3, 32, 32, 64, 64, 128, 128, 256, 256], [32, 32, 16, 16, 8, 8, 4, 4]
    assert costs == [9 * widths[k] * widths[k + 1] * sides[k] ** 2 for k in range(8)]


def test_the_first_layer_of_a_perceptron_sees_all_pixels() -> None:
    assert rows_of(MLP(3, 10, image_size=8, widths=[5]))[:2] == [
        ("layers.0", "Flatten", (192,), 0, 0, "1"),
        ("layers.1", "Linear", (5,), 192 * 5 + 5, 192 * 5, "all"),
    ]


class Branches(nn.Module):
    """Convolutions of several shapes and strides, pools, a sum and a concatenation."""

    def __init__(self) -> None:
        super().__init__()
        self.preprocess = Preprocess(50)
        self.stem = nn.Conv2d(1, 2, 5, stride=2, padding=1)
        self.wide, self.tall = nn.Conv2d(2, 2, (1, 7), padding=(0, 3)), nn.Conv2d(2, 2, (3, 1), padding="same")
        self.dilated = nn.Conv2d(4, 2, 3, dilation=3, padding=3, padding_mode="replicate")
        self.pool, self.last = nn.AvgPool2d(3, stride=2, ceil_mode=True), nn.Conv2d(2, 2, 3)
        self.head = nn.Linear(2, 2)

    def forward(self, images: Tensor) -> Tensor:
        stem = self.stem(images)
        joined = torch.cat([self.wide(stem), self.tall(stem) + stem], 1)
        return self.head(self.last(self.pool(self.dilated(joined).relu())).mean((2, 3)))


def average_everywhere(network: nn.Module) -> nn.Module:
    """Give a network weights of one value for each layer, and mean pools: each unit's gradient shows what it sees."""
    for name, module in [*network.named_modules()]:
        if isinstance(module, nn.MaxPool2d):
            window = module.kernel_size, module.stride, module.padding, module.ceil_mode
            network.set_submodule(name, nn.AvgPool2d(*window))
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.constant_(module.weight, 1 / module.weight[0].numel())
    return network.eval()


def measure_field(output: Tensor, images: Tensor) -> tuple[int, int, int, int]:
    """Return the first and last row and column at which the unit in the middle of an output has a gradient."""
    height, width = output.shape[-2:]
    (gradient,) = torch.autograd.grad(output[0, 0, height // 2, width // 2], images, retain_graph=True)
    rows, columns = (gradient[0].abs().sum((0, side)).nonzero()[:, 0] for side in (2, 1))
    return int(rows[0]), int(rows[-1]), int(columns[0]), int(columns[-1])


def compute_field(layer: Layer, side: int) -> tuple[int, ...]:
    """Return the rows and columns in the image that the field of the same unit names."""
    assert layer.field is not None
    ends = []
    for field, count in zip((layer.field.height, layer.field.width), layer.after[-2:], strict=True):
        first = field.start + count // 2 * field.jump
        ends += [max(round(first), 0), min(round(first + field.size), side) - 1]
    return tuple(ends)


@pytest.mark.parametrize(
    "name", ["branches", "custom_cnn", "resnet18", pytest.param("googlenet", marks=pytest.mark.slow)]
)
def test_a_receptive_field_is_where_the_gradient_of_a_unit_is(name: str) -> None:
    torch.manual_seed(0)
    network: Any = (
        Branches() if name == "branches" else CustomCNN(3, 2) if name == "custom_cnn"
        else Pretrained(3, 2, name, weights=None, freeze=False, image_size=96)
    )  # fmt: skip
    side, channels = network.preprocess.image_size, 1 if name == "branches" else 3
    layers = [layer for layer in list_layers(average_everywhere(network), channels) if layer.kind == "Conv2d"]
    images, outputs = torch.ones(1, channels, side, side, requires_grad=True), {}
    for layer in layers:
        module = network.get_submodule(layer.name)
        module.register_forward_hook(lambda _, __, output, name=layer.name: outputs.update({name: output.clone()}))
    network(images)
    measured = {layer.name: measure_field(outputs[layer.name], images) for layer in layers}
    assert measured == {layer.name: compute_field(layer, side) for layer in layers}
    assert len(measured) > 4


@pytest.mark.parametrize(
    ("layer", "side", "formula"),
    [
        (nn.Conv2d(1, 1, 7, stride=2, padding=3), 224, "(224 - 7 + 2*3)/2 + 1 = 112.5 -> 112"),
        (nn.Conv2d(1, 1, 3, dilation=2), 10, "(10 - (2*(3 - 1) + 1) + 2*0)/1 + 1 = 6"),
        (nn.Conv2d(1, 1, 4, dilation=2, padding="same"), 9, "(9 - (2*(4 - 1) + 1) + 2*3)/1 + 1 = 9"),
        (nn.Conv2d(1, 1, (1, 3)), 5, "(5 - 1 + 2*0)/1 + 1 = 5 (height), (5 - 3 + 2*0)/1 + 1 = 3 (width)"),
        (nn.MaxPool2d(3, 2, ceil_mode=True), 8, "(8 - 3 + 2*0)/2 + 1 = 3.5 -> 4"),
        (nn.MaxPool2d(2, 2, padding=1, ceil_mode=True), 7, "(7 - 2 + 2*1)/2 + 1 = 4.5 -> 4"),
        (nn.AdaptiveAvgPool2d(1), 7, "all 7 x 7 -> 1 x 1"),
        (nn.AdaptiveMaxPool2d((2, 3)), 7, "7 x 7 -> 2 x 3, whatever the input"),
    ],
)
def test_the_formula_of_the_output_size_has_the_layers_numbers(layer: nn.Module, side: int, formula: str) -> None:
    network = nn.Sequential(layer, nn.Flatten())
    network.preprocess = Preprocess(side)  # type: ignore[assignment]
    assert list_layers(network, 1)[0].formula == formula


def test_a_layer_that_pads_its_input_itself_has_no_formula() -> None:
    class Padded(nn.Conv2d):
        def forward(self, input: Tensor) -> Tensor:
            return super().forward(nn.functional.pad(input, (1, 2, 1, 2)))

    network = nn.Sequential(Padded(1, 1, 4), nn.Flatten())
    network.preprocess = Preprocess(8)  # type: ignore[assignment]
    (layer, _) = list_layers(network, 1)
    assert (layer.after, layer.formula) == ((1, 8, 8), "")
    assert format_field(layer.field) == "4"


def test_a_shared_module_is_one_layer_whose_parameters_count_once() -> None:
    shared = nn.Linear(4, 4)
    network = nn.Sequential(nn.Flatten(), shared, nn.ReLU(), shared)
    network.preprocess = Preprocess(2)  # type: ignore[assignment]
    layers = list_layers(network, 1)
    assert [(layer.name, layer.parameters, layer.multiply_adds, layer.calls) for layer in layers[1:]] == [
        ("1", 20, 32, 2),
        ("2", 0, 0, 1),
    ]
    assert network.training


class Attention(nn.Module):
    """Two kinds of attention over the four pixels of an image with eight channels."""

    def __init__(self) -> None:
        super().__init__()
        self.preprocess = Preprocess(2)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.head = nn.Linear(8, 3)

    def forward(self, images: Tensor) -> Tensor:
        tokens = images.flatten(2).transpose(1, 2)
        tokens = self.attention(tokens, tokens, tokens, need_weights=False)[0]
        return self.head(nn.functional.scaled_dot_product_attention(tokens, tokens, tokens)[:, 0])


def test_the_products_of_attention_count_although_a_fused_kernel_would_compute_them() -> None:
    network = Attention()
    assert summarise_network(network, 8, 3)["multiply_adds"] == 4 * 4 * 8 * 8 + 2 * (2 * 4 * 4 * 8) + 8 * 3
    layers = {layer.name: layer for layer in list_layers(network, 8)}
    assert {name: layer.multiply_adds for name, layer in layers.items()} == {
        "": 2 * 4 * 4 * 8, "attention": 4 * 4 * 8 * 8 + 2 * 4 * 4 * 8, "head": 8 * 3
    }  # fmt: skip
    assert layers["attention"].parameters == 3 * (8 * 8 + 8) + (8 * 8 + 8)
    assert torch.backends.mha.get_fastpath_enabled()
