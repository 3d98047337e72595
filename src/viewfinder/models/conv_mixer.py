"""Convolutional network of patches."""

from torch import Tensor, nn

from viewfinder.config.validate import Count, Text
from viewfinder.data.preprocess import Preprocess
from viewfinder.errors import Problem, UserError
from viewfinder.models.patches import count_patches
from viewfinder.models.transfer import Transferable


class ConvMixer(Transferable):
    """Embedding of patches, blocks of a depthwise and a pointwise convolution, mean over all pixels, linear layer.

    GELU and batch norm follow each convolution, and a skip connection bridges the depthwise part. From Trockman and
    Kolter 2022, "Patches Are All You Need?" (arXiv 2201.09792).

    Args:
        channels, classes: from the data.
        image_size: side of the images in pixels.
        depth: number of blocks.
        width: channels of all blocks.
        kernel_size: side of the depthwise kernels; odd.
        patch_size: side of the patches in pixels.
        weights: a run of this network, or a file with its state_dict, from which all but the last layer is loaded; None
            for random weights.
        freeze: train the last layer only.
        cache_features: compute the features of a frozen network once, not every epoch.

    Raises:
        UserError: if the kernels are even, the patches do not cover the images, or the weights are missing or do not
            match.
    """

    def __init__(
        self,
        channels: int,
        classes: int,
        image_size: Count = 32,
        depth: Count = 8,
        width: Count = 256,
        kernel_size: Count = 5,
        patch_size: Count = 2,
        weights: Text | None = None,
        freeze: bool = False,
        cache_features: bool = True,
    ):
        super().__init__()
        count_patches(image_size, patch_size)
        if kernel_size % 2 == 0:
            rule = "must be odd: (kernel_size - 1) / 2 pixels are added on each side"
            raise UserError("the configuration", [Problem("model.kernel_size", rule, str(kernel_size))])
        self.preprocess = Preprocess(image_size, mean=(0.5,), std=(0.25,))
        self.stem = _follow(nn.Conv2d(channels, width, patch_size, patch_size))
        self.blocks = nn.Sequential(*(_Block(width, kernel_size) for _ in range(depth)))
        self.pool, self.head = nn.AdaptiveAvgPool2d(1), nn.Linear(width, classes)
        self.transfer(weights, freeze, cache_features)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.pool(self.blocks(self.stem(images))).flatten(1))


class _Block(nn.Module):
    """Depthwise convolution with a skip connection, then a pointwise convolution."""

    def __init__(self, width: int, kernel_size: int):
        super().__init__()
        self.depthwise = _follow(nn.Conv2d(width, width, kernel_size, padding=kernel_size // 2, groups=width))
        self.pointwise = _follow(nn.Conv2d(width, width, 1))

    def forward(self, maps: Tensor) -> Tensor:
        return self.pointwise(maps + self.depthwise(maps))


def _follow(convolution: nn.Conv2d) -> nn.Sequential:
    """Return a convolution followed by GELU and batch norm."""
    return nn.Sequential(convolution, nn.GELU(), nn.BatchNorm2d(convolution.out_channels))
