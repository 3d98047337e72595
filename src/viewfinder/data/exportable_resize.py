"""Resizing by operations that torch.export and ONNX support, bit-identical to Pillow or to torch.

Pillow does not document the arithmetic of its Resample.c, which this repeats; checked with Pillow 11 to 13.
"""

from typing import NamedTuple

import PIL
import torch
from torch import Tensor, nn

from viewfinder.data.resize import MAX_RESIZED_AREA, Interpolation, Resize

UNIT = 2**22
"""Pillow's integer weights are multiples of 1 / UNIT."""
STARTS_TALL_IMAGES_DOWN = int(PIL.__version__.partition(".")[0]) >= 13
"""Whether this Pillow begins with the vertical direction if an image loses much more height than width.

Pillow 12.2 does so for images a hundred times as high as wide; those may differ by one level here.
"""


class Axis(NamedTuple):
    """Direction of a resize: pixel i of the result has its centre at origin + (offset + i + 0.5) * scale."""

    origin: Tensor
    offset: Tensor
    scale: Tensor


class PillowResize(nn.Module):
    """`Resize.resize_image` for batches of images of any size.

    Pillow resizes along one axis, then along the other. Each time it multiplies levels by integer weights and rounds
    to whole levels. Here each axis is a matrix product in float64, which represents all these integers.
    """

    def __init__(self, resize: Resize):
        super().__init__()
        self.resize = resize

    def forward(self, pixels: Tensor) -> Tensor:
        """Map (N, C, H, W) uint8 to (N, C, height, width) uint8."""
        rows, columns = (torch.arange(length, dtype=torch.float64) for length in pixels.shape[-2:])
        vertical, horizontal, is_down_first = self._plan(rows[-1] + 1, columns[-1] + 1)
        down = self._weights(rows, vertical, self.resize.height)
        across = self._weights(columns, horizontal, self.resize.width)
        levels = pixels.double()
        resized = _to_levels(_resize_height(_to_levels(_resize_width(levels, across)), down))
        if STARTS_TALL_IMAGES_DOWN:  # both, since exporters handle branches less well
            down_first = _to_levels(_resize_width(_to_levels(_resize_height(levels, down)), across))
            resized = torch.where(is_down_first, down_first, resized)
        return resized.byte()

    def _plan(self, height: Tensor, width: Tensor) -> tuple[Axis, Axis, Tensor]:
        """Return the vertical and the horizontal axis, and whether Pillow begins with the vertical one."""
        side = self.resize
        target_height, target_width = height.new_tensor(side.height), width.new_tensor(side.width)
        is_cropped_first = torch.zeros((), dtype=torch.bool)
        resized_height, resized_width = target_height, target_width
        if side.cover is not None:
            frame_height, frame_width = side.cover
            fits_height = frame_height * width >= frame_width * height
            resized_height = torch.where(fits_height, frame_height, (frame_width * height / width).floor())
            resized_width = torch.where(fits_height, (frame_height * width / height).floor(), frame_width)
            is_cropped_first = resized_height * resized_width > MAX_RESIZED_AREA * side.height * side.width
        lost_height = height - torch.where(is_cropped_first, target_height, resized_height)
        lost_width = width - torch.where(is_cropped_first, target_width, resized_width)
        return (
            _axis(height, resized_height, side.height, is_cropped_first),
            _axis(width, resized_width, side.width, is_cropped_first),
            (lost_height > 0) & (lost_height > 2 * lost_width),
        )

    def _weights(self, positions: Tensor, axis: Axis, count: int) -> Tensor:
        """Return the integer weights, (L, count), that Pillow gives L pixels in each of `count` results."""
        centres = axis.origin + (axis.offset + torch.arange(count, dtype=torch.float64) + 0.5) * axis.scale
        distances = (positions[:, None] - centres + 0.5) * (1 / axis.scale.clamp(min=1))
        weights = FILTERS[self.resize.interpolation](distances.abs())
        weights = weights / weights.sum(0) * UNIT
        return torch.where(weights < 0, (weights - 0.5).ceil(), (weights + 0.5).floor())


class MatrixResize:
    """`Resize.resize_pixels` for images of one size, as products with constant matrices."""

    def __init__(self, resize: Resize, height: int, width: int):
        self.resize, self.resized_size = resize, resize.resized_size(height, width)
        self.is_needed = self.resized_size != (height, width)
        self.down = _resize_matrix(height, self.resized_size[0], resize.interpolation)
        self.across = _resize_matrix(width, self.resized_size[1], resize.interpolation)

    def resize_pixels(self, levels: Tensor) -> Tensor:
        """Resize and crop: (N, C, H, W) float32 in 0..255 to (N, C, height, width)."""
        if self.is_needed:
            levels = _resize_width(levels, self.across)
            if self.resize.interpolation == "bicubic":
                levels = levels.round().clamp(0, 255)
            levels = _resize_height(levels, self.down).round().clamp(0, 255)
            levels = levels.contiguous(memory_format=torch.channels_last)
        top, left = self.resize.crop_corner(*self.resized_size)
        return levels[..., top : top + self.resize.height, left : left + self.resize.width]


def _bilinear(distance: Tensor) -> Tensor:
    return (1 - distance).clamp(min=0)


def _bicubic(distance: Tensor) -> Tensor:
    inner = (1.5 * distance - 2.5) * distance * distance + 1
    outer = (((distance - 5) * distance + 8) * distance - 4) * -0.5
    return torch.where(distance < 1, inner, torch.where(distance < 2, outer, 0.0))


FILTERS = {"bilinear": _bilinear, "bicubic": _bicubic}
"""Weight of a pixel by its distance from the centre, in pixels of the smaller image."""


def _axis(length: Tensor, resized_length: Tensor, count: int, is_cropped_first: Tensor) -> Axis:
    first, scale = ((resized_length - count) / 2).round(), length / resized_length
    begin, end = (first * scale).float(), ((first + count) * scale).float()  # Pillow's box is float32
    return Axis(
        origin=torch.where(is_cropped_first, begin.double(), 0.0),
        offset=torch.where(is_cropped_first, 0.0, first),
        scale=torch.where(is_cropped_first, (end - begin).double() / count, scale),
    )


def _resize_width(levels: Tensor, weights: Tensor) -> Tensor:
    """Map (N, C, H, W) to (N, C, H, w) by weights (W, w), flattened: torch 2.6 fails on (N, C, H, W) @ (W, w)."""
    return (levels.flatten(0, 2) @ weights).unflatten(0, levels.shape[:3])


def _resize_height(levels: Tensor, weights: Tensor) -> Tensor:
    """Map (N, C, H, W) to (N, C, h, W) with weights (H, h)."""
    return _resize_width(levels.mT, weights).mT


def _to_levels(sums: Tensor) -> Tensor:
    return (sums / UNIT + 0.5).floor().clamp(0, 255)


def _resize_matrix(length: int, size: int, interpolation: Interpolation) -> Tensor:
    """Return torch's weights, (length, size) float32."""
    identity = torch.eye(length)[None, None]
    return nn.functional.interpolate(identity, (length, size), mode=interpolation, antialias=True)[0, 0]
