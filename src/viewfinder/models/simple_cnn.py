"""Small convolutional network, the tutorial's first."""

from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from viewfinder.config.validate import Count, Text
from viewfinder.data.preprocess import Preprocess
from viewfinder.models.transfer import Transferable


class SimpleCNN(Transferable):
    """Two 3x3 convolutions with same padding, each with ReLU; 2x2 max-pool; one linear layer.

    The second ReLU follows the pooling, which gives the same result at a quarter of the cost.

    Args:
        channels, classes: from the data.
        image_size: side of the images in pixels, at least 2.
        width: channels of both convolutions.
        weights: a run of this network, or a file with its state_dict, from which all but the last layer is loaded; None
            for random weights.
        freeze: train the last layer only.
        cache_features: compute the features of a frozen network once, not every epoch.
    """

    def __init__(
        self,
        channels: int,
        classes: int,
        image_size: Annotated[int, Field(ge=2)] = 32,
        width: Count = 10,
        weights: Text | None = None,
        freeze: bool = False,
        cache_features: bool = True,
    ):
        super().__init__()
        self.preprocess = Preprocess(image_size)
        self.features = nn.Sequential(
            nn.Conv2d(channels, width, kernel_size=3, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, width, kernel_size=3, padding=1),
            nn.MaxPool2d(2),
            nn.ReLU(),
        )
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(width * (image_size // 2) ** 2, classes))
        self.transfer(weights, freeze, cache_features)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.features(images))
