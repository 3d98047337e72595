"""Multilayer perceptron, the baseline for the convolutional networks."""

import itertools

from torch import Tensor, nn

from viewfinder.config.validate import Count, Text
from viewfinder.data.preprocess import Preprocess
from viewfinder.models.transfer import Transferable


class MLP(Transferable):
    """Linear layers over all pixels, with ReLU between them.

    Args:
        channels, classes: from the data.
        image_size: side of the images in pixels.
        widths: units in each hidden layer.
        weights: a run of this network, or a file with its state_dict, from which all but the last layer is loaded; None
            for random weights.
        freeze: train the last layer only.
        cache_features: compute the features of a frozen network once, not every epoch.
    """

    def __init__(
        self,
        channels: int,
        classes: int,
        image_size: Count = 32,
        widths: list[Count] = [512, 256],  # noqa: B006
        weights: Text | None = None,
        freeze: bool = False,
        cache_features: bool = True,
    ):
        super().__init__()
        self.preprocess = Preprocess(image_size)
        sizes = [channels * image_size**2, *widths]
        hidden = [layer for a, b in itertools.pairwise(sizes) for layer in (nn.Linear(a, b), nn.ReLU())]
        self.layers = nn.Sequential(nn.Flatten(), *hidden, nn.Linear(sizes[-1], classes))
        self.transfer(weights, freeze, cache_features)

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images)
