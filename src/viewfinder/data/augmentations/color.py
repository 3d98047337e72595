"""Changes of brightness, contrast, saturation and hue, and their random combination."""

import random
from collections.abc import Callable
from typing import Annotated

import torch
from pydantic import Field
from torch import Generator, Tensor

from viewfinder.config.validate import NotNegative

LUMA = (0.2989, 0.587, 0.114)
"""ITU-R 601-2 weights of red, green and blue, rounded as in torchvision."""


class ColorJitter:
    """Random change of each image's brightness, contrast, saturation and hue, in an order drawn for each batch.

    The factors are uniform in 1 - value to 1 + value, and those of saturation and hue leave grey images unchanged.
    torchvision's ColorJitter draws one set of factors for a whole batch, and cuts levels off between the steps.

    Args:
        brightness, contrast, saturation: largest change of the factor; 0 changes nothing.
        hue: largest shift, as a share of the colour circle.
    """

    def __init__(
        self,
        brightness: NotNegative = 0.2,
        contrast: NotNegative = 0.2,
        saturation: NotNegative = 0.2,
        hue: Annotated[float, Field(ge=0, le=0.5)] = 0.0,
    ):
        self.ranges = {"brightness": brightness, "contrast": contrast, "saturation": saturation, "hue": hue}

    def __call__(self, pixels: Tensor, generator: Generator) -> Tensor:
        """Map (N, C, H, W) uint8 to the same shape."""
        changes = [name for name, value in self.ranges.items() if value]
        if not changes:
            return pixels
        draws = torch.rand(len(CHANGES), len(pixels), 1, 1, 1, generator=generator, device=pixels.device) * 2 - 1
        by_name = dict(zip(CHANGES, draws, strict=True))
        levels = pixels.float()
        for name in random.Random(generator.initial_seed()).sample(changes, len(changes)):
            amount = by_name[name] * self.ranges[name]
            levels = CHANGES[name](levels, amount if name == "hue" else (1 + amount).clamp(min=0))
        return levels.round().byte().contiguous(memory_format=torch.channels_last)


def adjust_brightness(levels: Tensor, factors: Tensor) -> Tensor:
    """Blend images with black; as all functions here, levels are (N, C, H, W) float32, factors (N, 1, 1, 1)."""
    return (levels * factors).clamp(0, 255)


def adjust_contrast(levels: Tensor, factors: Tensor) -> Tensor:
    """Blend each image with its mean grey level."""
    return _blend(levels, convert_to_grey(levels).mean((1, 2, 3), keepdim=True), factors)


def adjust_saturation(levels: Tensor, factors: Tensor) -> Tensor:
    """Blend images with their grey versions."""
    return _blend(levels, convert_to_grey(levels), factors)


def adjust_hue(levels: Tensor, shifts: Tensor) -> Tensor:
    """Turn the hue of HSV by shares of the colour circle."""
    if levels.shape[1] == 1:
        return levels
    red, green, blue = levels.unbind(1)
    value, lowest = levels.amax(1), levels.amin(1)
    chroma = value - lowest
    divisor = torch.where(chroma == 0, 1.0, chroma)
    sixths = torch.where(
        value == red,
        (green - blue) / divisor,
        torch.where(value == green, 2 + (blue - red) / divisor, 4 + (red - green) / divisor),
    )
    sixths = sixths + 6 * shifts[:, 0]
    channels = []
    for offset in (5, 3, 1):  # red, green, blue
        place = (sixths + offset) % 6
        channels.append(value - chroma * torch.minimum(place, 4 - place).clamp(0, 1))
    return torch.stack(channels, 1)


def convert_to_grey(levels: Tensor) -> Tensor:
    """Return the luma of colour images, (N, 1, H, W)."""
    if levels.shape[1] == 1:
        return levels
    return sum(weight * channel for weight, channel in zip(LUMA, levels.split(1, 1), strict=True))  # type: ignore


def _blend(levels: Tensor, other: Tensor, factors: Tensor) -> Tensor:
    return (other + factors * (levels - other)).clamp(0, 255)


CHANGES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "brightness": adjust_brightness,
    "contrast": adjust_contrast,
    "saturation": adjust_saturation,
    "hue": adjust_hue,
}
