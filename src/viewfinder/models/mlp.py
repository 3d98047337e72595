"""A multilayer perceptron: the network that CNNs are compared with."""

import itertools

from torch import Tensor, nn

from viewfinder.build import Count
from viewfinder.preprocess import Preprocess


class MLP(nn.Module):
    """Linear layers with ReLU between them over all pixels at once.

    Args:
        channels, classes: from the data.
        image_size: side of the pictures in pixels.
        widths: units in each hidden layer.
    """

    def __init__(self, channels: int, classes: int, image_size: Count = 32, widths: list[Count] = [512, 256]):  # noqa: B006
        super().__init__()
        self.preprocess = Preprocess(image_size)
        sizes = [channels * image_size**2, *widths]
        hidden = [layer for a, b in itertools.pairwise(sizes) for layer in (nn.Linear(a, b), nn.ReLU())]
        self.layers = nn.Sequential(nn.Flatten(), *hidden, nn.Linear(sizes[-1], classes))

    def forward(self, pictures: Tensor) -> Tensor:
        return self.layers(pictures)
