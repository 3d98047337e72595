"""Augmentations of a batch on its device, with random numbers for each image."""

from typing import Annotated

import torch
from pydantic import Field
from torch import Generator, Tensor, nn

from viewfinder.config.validate import Whole


class Basic:
    """Random crop after zero padding, and random horizontal flip.

    Args:
        padding: pixels on each side.
        flip: probability.
    """

    def __init__(self, padding: Whole = 4, flip: Annotated[float, Field(ge=0, le=1)] = 0.5):
        self.padding, self.flip = padding, flip

    def __call__(self, pixels: Tensor, generator: Generator) -> Tensor:
        """Map (N, C, H, W) uint8 to the same shape; `generator` is on the same device."""
        count, device = len(pixels), pixels.device
        height, width = pixels.shape[-2:]
        top, left = torch.randint(2 * self.padding + 1, (2, count, 1), generator=generator, device=device)
        is_flipped = torch.rand(count, 1, generator=generator, device=device) < self.flip
        rows = top + torch.arange(height, device=device)
        columns = torch.arange(width, device=device).expand(count, width)
        columns = left + torch.where(is_flipped, columns.flip(1), columns)
        padded = nn.functional.pad(pixels, [self.padding] * 4).permute(0, 2, 3, 1)
        images = torch.arange(count, device=device)
        return padded[images[:, None, None], rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
