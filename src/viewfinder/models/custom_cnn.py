"""Deeper convolutional network, the tutorial's second."""

import itertools

from torch import Tensor, nn

from viewfinder.config.validate import Count, Share, Text
from viewfinder.data.preprocess import Preprocess
from viewfinder.errors import Problem, UserError
from viewfinder.models.transfer import Transferable


class CustomCNN(Transferable):
    """Blocks of two 3x3 convolutions, then fully connected layers.

    Each block is (convolution, ReLU, batch norm) twice, max-pool and dropout; each hidden layer is linear, ReLU, batch
    norm and dropout. A linear layer follows.

    Args:
        channels, classes: from the data.
        image_size: side of the images in pixels, at least 2 ** len(widths): each block halves it.
        widths: channels of each block.
        block_dropout: dropout probability after each block.
        hidden: units of each hidden linear layer.
        dropout: dropout probability after each hidden layer.
        weights: a run of this network, or a file with its state_dict, from which all but the last layer is loaded; None
            for random weights.
        freeze: train the last layer only.
        cache_features: compute the features of a frozen network once, not every epoch.

    Raises:
        UserError: if the images are too small for that many blocks, or the weights are missing or do not match.
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
        weights: Text | None = None,
        freeze: bool = False,
        cache_features: bool = True,
    ):
        super().__init__()
        side = image_size >> len(widths)
        if not side:
            rule = f"must be at least {2 ** len(widths)}: each of the {len(widths)} blocks halves the image"
            raise UserError(
                "the configuration",
                [Problem("model.image_size", rule, str(image_size), "Increase it, or shorten model.widths.")],
            )
        self.preprocess = Preprocess(image_size)
        blocks = [_block(a, b, block_dropout) for a, b in itertools.pairwise([channels, *widths])]
        self.features = nn.Sequential(*blocks)
        sizes = [([channels, *widths])[-1] * side**2, *hidden]
        dense = [_dense(a, b, dropout) for a, b in itertools.pairwise(sizes)]
        self.head = nn.Sequential(nn.Flatten(), *dense, nn.Linear(sizes[-1], classes))
        self.transfer(weights, freeze, cache_features)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.features(images))


def _block(inputs: int, width: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, width, kernel_size=3, padding=1),
        nn.ReLU(),
        nn.BatchNorm2d(width),
        nn.Conv2d(width, width, kernel_size=3, padding=1),
        nn.ReLU(),
        nn.BatchNorm2d(width),
        nn.MaxPool2d(2),
        nn.Dropout(dropout),
    )


def _dense(inputs: int, width: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, width), nn.ReLU(), nn.BatchNorm1d(width), nn.Dropout(dropout))
