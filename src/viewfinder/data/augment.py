"""Augmentations of a whole batch on its device, each picture with numbers of its own."""

from typing import Annotated

import torch
from pydantic import Field
from torch import Generator, Tensor, nn

from viewfinder.config.validate import Whole


class Basic:
    """A random crop after padding with zeros, and a random horizontal flip.

    Args:
        padding: pixels on each side.
        flip: probability.
    """

    def __init__(self, padding: Whole = 4, flip: Annotated[float, Field(ge=0, le=1)] = 0.5):
        self.padding, self.flip = padding, flip

    def __call__(self, pixels: Tensor, generator: Generator) -> Tensor:
        """(N, C, H, W) uint8 -> the same shape; `generator` lives on the pixels' device."""
        count, device = len(pixels), pixels.device
        height, width = pixels.shape[-2:]
        top, left = torch.randint(2 * self.padding + 1, (2, count, 1), generator=generator, device=device)
        flipped = torch.rand(count, 1, generator=generator, device=device) < self.flip
        rows = top + torch.arange(height, device=device)
        columns = torch.arange(width, device=device).expand(count, width)
        columns = left + torch.where(flipped, columns.flip(1), columns)
        padded = nn.functional.pad(pixels, [self.padding] * 4).permute(0, 2, 3, 1)
        pictures = torch.arange(count, device=device)
        chosen = padded[pictures[:, None, None], rows[:, :, None], columns[:, None, :]]
        return chosen.permute(0, 3, 1, 2)
