"""The tutorial's first network."""

from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from viewfinder.build import Count
from viewfinder.preprocess import Preprocess


class SimpleCNN(nn.Module):
    """Two 3x3 convolutions with same padding, each with ReLU; 2x2 max-pool; one linear layer.

    The second ReLU comes after the pooling: the same function, for a quarter of the values.

    Args:
        channels, classes: from the data.
        image_size: side of the pictures in pixels, at least 2.
        width: channels of both convolutions.
    """

    def __init__(self, channels: int, classes: int, image_size: Annotated[int, Field(ge=2)] = 32, width: Count = 10):
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

    def forward(self, pictures: Tensor) -> Tensor:
        return self.head(self.features(pictures))
