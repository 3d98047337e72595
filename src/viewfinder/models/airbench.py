"""Network of airbench94, made for the highest accuracy on CIFAR-10 in a few seconds of a GPU."""

import itertools
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from viewfinder.config.validate import Count, Positive, Text
from viewfinder.data.preprocess import Preprocess
from viewfinder.errors import Problem, UserError
from viewfinder.models.transfer import Transferable
from viewfinder.models.whitening import Whitening


class AirBench(Transferable):
    """Whitening convolution, blocks of two 3x3 convolutions, max-pool over all pixels, scaled linear layer.

    From Jordan 2024, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU" (arXiv 2404.00498). GELU follows the whitening
    convolution. A block is (convolution, 2x2 max-pool, batch norm, GELU, convolution, batch norm, GELU). Its
    convolutions have no bias, and its batch norms no trained scale.

    Args:
        channels, classes: from the data.
        image_size: side of the images in pixels.
        widths: channels of each block, which halves the image.
        whitening: compute the weights of the first convolution from training images, and keep them while its bias
            trains; False trains it from random weights.
        whitening_size: side of the first kernels K; there are 2 * channels * K ** 2 of them.
        whitening_eps: added to the eigenvalues of the covariance of the patches.
        dirac: let the first filters of each convolution in a block pass on their input at the start of training
            (`torch.nn.init.dirac_`); False starts from random weights.
        batch_norm_momentum: share of a new batch in the running statistics.
        scale: factor of the logits.
        weights: a run of this network, or a file with its state_dict, from which all but the last layer is loaded; None
            for new weights.
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
        widths: Annotated[list[Count], Field(min_length=1)] = [64, 256, 256],  # noqa: B006
        whitening: bool = True,
        whitening_size: Count = 2,
        whitening_eps: Positive = 5e-4,
        dirac: bool = True,
        batch_norm_momentum: Annotated[float, Field(gt=0, le=1)] = 0.4,
        scale: Positive = 1 / 9,
        weights: Text | None = None,
        freeze: bool = False,
        cache_features: bool = True,
    ):
        super().__init__()
        _require_pixels(image_size, whitening_size, len(widths))
        self.preprocess = Preprocess(image_size, mean=(0.5,), std=(0.25,))
        self.is_whitened = whitening and weights is None
        self.whitening, self.activation = Whitening(channels, whitening_size, whitening_eps), nn.GELU()
        sizes = [self.whitening.out_channels, *widths]
        self.blocks = nn.Sequential(*(_Block(a, b, dirac, batch_norm_momentum) for a, b in itertools.pairwise(sizes)))
        self.pool, self.scale = _GlobalMaxPool(), scale
        self.head = nn.Linear(widths[-1], classes, bias=False)
        norms = [f"{name}.weight" for name, module in self.named_modules() if isinstance(module, nn.BatchNorm2d)]
        self.never_trained = (*norms, *["whitening.weight"] * whitening)
        self.transfer(weights, freeze, cache_features)

    def initialize_from_images(self, images: Tensor) -> None:
        """Set the whitening convolution from training images, (N, C, H, W) float."""
        if self.is_whitened:
            self.whitening.fit(images)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.blocks(self.activation(self.whitening(images)))
        return self.head(self.pool(maps).flatten(1) * self.scale)


class _Block(nn.Module):
    """Two convolutions with batch norm and GELU; a max-pool after the first one halves the image."""

    def __init__(self, inputs: int, width: int, dirac: bool, momentum: float):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 3, padding=1, bias=False)
        self.pool, self.norm1 = nn.MaxPool2d(2), nn.BatchNorm2d(width, momentum=momentum)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm2, self.activation = nn.BatchNorm2d(width, momentum=momentum), nn.GELU()
        if dirac:
            with torch.no_grad():
                for convolution in (self.conv1, self.conv2):
                    nn.init.dirac_(convolution.weight[: convolution.in_channels])  # further filters stay random

    def forward(self, maps: Tensor) -> Tensor:
        maps = self.activation(self.norm1(self.pool(self.conv1(maps))))
        return self.activation(self.norm2(self.conv2(maps)))


class _GlobalMaxPool(nn.Module):
    """Max-pool over all pixels; on a GPU its gradient is deterministic, but not the gradient of AdaptiveMaxPool2d."""

    def forward(self, maps: Tensor) -> Tensor:
        return nn.functional.max_pool2d(maps, maps.shape[-2:])


def _require_pixels(image_size: int, whitening_size: int, blocks: int) -> None:
    """Raise UserError if the blocks leave no pixel."""
    if (image_size - whitening_size + 1) // 2**blocks < 1:
        cut = f", after the first convolution cuts off {whitening_size - 1}" if whitening_size > 1 else ""
        rule = f"must be at least {2**blocks + whitening_size - 1}: each of the {blocks} blocks halves the image{cut}"
        remedy = "Increase it, or shorten model.widths."
        raise UserError("the configuration", [Problem("model.image_size", rule, str(image_size), remedy)])
