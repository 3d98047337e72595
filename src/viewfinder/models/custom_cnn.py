"""Deeper convolutional network, the tutorial's second."""

import itertools
from typing import Literal, NamedTuple

from torch import Tensor, nn

from viewfinder.config.validate import Count, Share, Text
from viewfinder.data.preprocess import Preprocess
from viewfinder.errors import Problem, UserError
from viewfinder.models.transfer import Transferable


class CustomCNN(Transferable):
    """Blocks of two convolutions, then fully connected layers.

    Each block is (convolution, ReLU, batch norm) twice, max-pool and dropout; each hidden layer is linear, ReLU, batch
    norm and dropout. A linear layer follows. The first linear layer takes its size from the images that the blocks
    leave.

    Args:
        channels, classes: from the data.
        image_size: side of the images in pixels, at least 2 ** len(widths) by default: each block halves it.
        widths: channels of each block.
        block_dropout: dropout probability after each block.
        hidden: units of each hidden linear layer.
        dropout: dropout probability after each hidden layer.
        kernel_size: side of the kernels F; odd with same padding.
        padding: "same" adds (F - 1) / 2 pixels on each side of a convolution's input; "valid" adds none.
        pooling: how a block halves the image: "max" or "average" over 2x2 pixels, or "stride", a stride of 2 of its
            second convolution.
        batch_norm: whether batch norm follows each ReLU.
        weights: a run of this network, or a file with its state_dict, from which all but the last layer is loaded; None
            for random weights.
        freeze: train the last layer only.
        cache_features: compute the features of a frozen network once, not every epoch.

    Raises:
        UserError: if the kernels are even with same padding, the images are too small for that many blocks, or the
            weights are missing or do not match.
    """

    def __init__(
        self,
        channels: int,
        classes: int,
        image_size: Count = 32,
        widths: list[Count] = [32, 64, 128, 256],  # noqa: B006
        block_dropout: Share = 0.25,
        hidden: list[Count] = [512, 1024],  # noqa: B006
        dropout: Share = 0.5,
        kernel_size: Count = 3,
        padding: Literal["same", "valid"] = "same",
        pooling: Literal["max", "average", "stride"] = "max",
        batch_norm: bool = True,
        weights: Text | None = None,
        freeze: bool = False,
        cache_features: bool = True,
    ):
        super().__init__()
        block = _Block(kernel_size, padding, pooling, batch_norm, block_dropout)
        side = _leave_pixels(block, image_size, len(widths))
        self.preprocess = Preprocess(image_size)
        blocks = [block.build(a, b) for a, b in itertools.pairwise([channels, *widths])]
        self.features = nn.Sequential(*blocks)
        sizes = [([channels, *widths])[-1] * side**2, *hidden]
        dense = [_dense(a, b, dropout, batch_norm) for a, b in itertools.pairwise(sizes)]
        self.head = nn.Sequential(nn.Flatten(), *dense, nn.Linear(sizes[-1], classes))
        self.transfer(weights, freeze, cache_features)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.features(images))


class _Block(NamedTuple):
    """Arguments that the blocks of a network share."""

    kernel_size: int
    padding: str
    pooling: str
    batch_norm: bool
    dropout: float

    @property
    def border(self) -> int:
        """Pixels added on each side of a convolution's input."""
        return (self.kernel_size - 1) // 2 if self.padding == "same" else 0

    @property
    def cut(self) -> int:
        """Pixels that a convolution without a stride cuts from each side length."""
        return self.kernel_size - 1 - 2 * self.border

    def build(self, inputs: int, width: int) -> nn.Sequential:
        stride = 2 if self.pooling == "stride" else 1
        layers = [*self._convolve(inputs, width, 1), *self._convolve(width, width, stride)]
        if stride == 1:
            layers.append(nn.MaxPool2d(2) if self.pooling == "max" else nn.AvgPool2d(2))
        return nn.Sequential(*layers, nn.Dropout(self.dropout))

    def _convolve(self, inputs: int, width: int, stride: int) -> list[nn.Module]:
        layers = [nn.Conv2d(inputs, width, self.kernel_size, stride, self.border), nn.ReLU()]
        return [*layers, nn.BatchNorm2d(width)] if self.batch_norm else layers

    def output_side(self, side: int) -> int:
        """Return the side of a block's output, floor((N + 2P - F) / S) + 1 after each layer; below 1: none is left."""
        side -= self.cut
        return (side - self.cut - 1) // 2 + 1 if self.pooling == "stride" else (side - self.cut) // 2

    def smallest_input(self, side: int) -> int:
        """Return the smallest side of a block's input that leaves an output of this side."""
        return (2 * side - 1 if self.pooling == "stride" else 2 * side) + 2 * self.cut


def _leave_pixels(block: _Block, image_size: int, count: int) -> int:
    """Return the side of the images that blocks leave.

    Raises:
        UserError: if none is left, or the padding is not a whole number of pixels.
    """
    if block.padding == "same" and block.kernel_size % 2 == 0:
        rule = "must be odd with model.padding=same, which adds (kernel_size - 1) / 2 pixels on each side"
        remedy = "Use an odd size, or model.padding=valid."
        raise UserError("the configuration", [Problem("model.kernel_size", rule, str(block.kernel_size), remedy)])
    side, smallest = image_size, 1
    for _ in range(count):
        side, smallest = block.output_side(side), block.smallest_input(smallest)
    if image_size < smallest:
        cut = f", after its convolutions cut off {2 * block.cut} pixels" if block.cut else ""
        rule = f"must be at least {smallest}: each of the {count} blocks halves the image{cut}"
        remedy = "Increase it, or shorten model.widths."
        raise UserError("the configuration", [Problem("model.image_size", rule, str(image_size), remedy)])
    return side


def _dense(inputs: int, width: int, dropout: float, batch_norm: bool) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Linear(inputs, width), nn.ReLU()]
    if batch_norm:
        layers.append(nn.BatchNorm1d(width))
    return nn.Sequential(*layers, nn.Dropout(dropout))
