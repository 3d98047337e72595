"""Erased rectangles: Cutout and Random Erasing."""

import math
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from viewfinder.config.validate import Positive, Probability, Whole
from viewfinder.data.augmentations.pipeline import Context
from viewfinder.data.batches import Batch

ATTEMPTS = 10
"""Rectangles that Random Erasing draws for an image before it leaves the image as it is, as in torchvision."""
Area = Annotated[float, Field(gt=0, le=1)]


class Cutout:
    """Square at a random place of each image, filled with the network's mean, which becomes zero after normalisation.

    Its centre is a pixel of the image, and parts outside the image are cut off. DeVries and Taylor 2017, "Improved
    Regularization of Convolutional Neural Networks with Cutout" (arXiv 1708.04552).

    Args:
        size: side of the square in pixels; 0 changes nothing.
        probability: probability for each image.
    """

    def __init__(self, size: Whole = 8, probability: Probability = 1.0):
        self.size, self.probability = size, probability

    def augment_batch(self, batch: Batch, context: Context) -> Batch:
        if not self.size or not self.probability:
            return batch
        pixels, count = batch.pixels, len(batch.pixels)
        random = torch.rand(3, count, generator=context.generator, device=pixels.device)
        height, width = pixels.shape[-2:]
        top = (random[0] * height).long() - self.size // 2
        left = (random[1] * width).long() - self.size // 2
        size = torch.where(random[2] < self.probability, self.size, 0)
        fill = context.preprocess.mean_levels(pixels.device)
        return batch._replace(pixels=erase(pixels, top, left, size, size, fill))


class RandomErasing:
    """Rectangle of random area, shape and place in each image.

    Zhong et al. 2017, "Random Erasing Data Augmentation" (arXiv 1708.04896). torchvision's class of this name draws one
    rectangle for a whole batch.

    Args:
        probability: probability for each image.
        scale: lowest and highest share of the image's area.
        ratio: lowest and highest ratio of height to width; its logarithm is uniform.
        fill: "mean" is the network's mean, which becomes zero after normalisation; "noise" are random levels.

    Raises:
        ValueError: if the lowest scale or ratio is above the highest.
    """

    def __init__(
        self,
        probability: Probability = 0.5,
        scale: tuple[Area, Area] = (0.02, 0.33),
        ratio: tuple[Positive, Positive] = (0.3, 3.3),
        fill: Literal["mean", "noise"] = "mean",
    ):
        for name, (low, high) in (("scale", scale), ("ratio", ratio)):
            if low > high:
                raise ValueError(f"{name} must be the lowest and the highest value")
        self.probability, self.scale, self.ratio, self.fill = probability, scale, ratio, fill

    def augment_batch(self, batch: Batch, context: Context) -> Batch:
        if not self.probability:
            return batch
        pixels, device, generator = batch.pixels, batch.pixels.device, context.generator
        count, (height, width) = len(pixels), pixels.shape[-2:]
        areas, ratios = torch.rand(2, ATTEMPTS, count, generator=generator, device=device)
        areas = height * width * (self.scale[0] + (self.scale[1] - self.scale[0]) * areas)
        low, high = (math.log(ratio) for ratio in self.ratio)
        ratios = (low + (high - low) * ratios).exp()
        heights, widths = (areas * ratios).sqrt().round().long(), (areas / ratios).sqrt().round().long()
        is_valid = (heights < height) & (widths < width)
        first_valid = is_valid.int().argmax(0, keepdim=True)
        heights, widths, is_valid = (each.gather(0, first_valid)[0] for each in (heights, widths, is_valid))
        random = torch.rand(3, count, generator=generator, device=device)
        is_erased = is_valid & (random[2] < self.probability)
        top, left = (random[0] * (height - heights + 1)).long(), (random[1] * (width - widths + 1)).long()
        if self.fill == "mean":
            fill = context.preprocess.mean_levels(device)
        else:
            shape = (count, height, width, pixels.shape[1])  # channels_last, as the images are
            fill = torch.randint(256, shape, generator=generator, device=device, dtype=torch.uint8).permute(0, 3, 1, 2)
        return batch._replace(pixels=erase(pixels, top, left, heights * is_erased, widths, fill))


def erase(pixels: Tensor, top: Tensor, left: Tensor, height: Tensor, width: Tensor, fill: Tensor) -> Tensor:
    """Fill a rectangle in each image.

    Args:
        pixels: (N, C, H, W) uint8.
        top, left, height, width: (N,) int64; parts outside the image are ignored.
        fill: uint8 levels, in a shape that expands to the shape of the images.
    """
    rows, columns = (torch.arange(size, device=pixels.device) for size in pixels.shape[-2:])
    is_in_rows = (rows >= top[:, None]) & (rows < (top + height)[:, None])
    is_in_columns = (columns >= left[:, None]) & (columns < (left + width)[:, None])
    mask = (255 * is_in_rows.byte())[:, None, :, None] & (255 * is_in_columns.byte())[:, None, None, :]
    return pixels ^ ((pixels ^ fill) & mask)  # on a CPU several times as fast as torch.where
