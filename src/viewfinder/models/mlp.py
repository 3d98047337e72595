"""A multilayer perceptron: the network that CNNs are compared with."""

import itertools

from torch import Tensor, nn

from viewfinder.config.validate import Count, Text
from viewfinder.data.preprocess import Preprocess
from viewfinder.models.transfer import Transferable


class MLP(Transferable):
    """Linear layers with ReLU between them over all pixels at once.

    Args:
        channels, classes: from the data.
        image_size: side of the pictures in pixels.
        widths: units in each hidden layer.
        weights: a run of such a network, or a file with its state_dict, of which all but the last layer is taken; None
            for random ones.
        freeze: keep everything but the last layer as it is.
        cache_features: compute what a frozen network gives that layer once, not every epoch.
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

    def forward(self, pictures: Tensor) -> Tensor:
        return self.layers(pictures)
