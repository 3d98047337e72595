"""Corruptions of images at several strengths, batched on their device by torchvision's functionals."""

import functools
import io
import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as F

from viewfinder.data.seeding import make_generator
from viewfinder.errors import Problem, UserError, did_you_mean, join_names

GREY = 128
"""Level of an occluded pixel."""
DIRECTIONS = ((-1, 0), (0, 1), (1, 0), (0, -1))
"""Directions of a shift: up, right, down and left, as rows and columns."""
OCCLUSION_PLACES = 3
"""Places of the occluding square along each axis."""


class Place:
    """Position of a batch in its split, and the random numbers of the batch.

    Where a corruption has several directions, the image at position i of its split gets direction i modulo their
    number. So its direction does not depend on the batch.

    Args:
        first: position of the batch's first image in the split.
        seed: base seed of the random numbers.
        number: index of the batch.
    """

    def __init__(self, first: int, seed: int, number: int):
        self.first, self.seed, self.number = first, seed, number
        self._noise: Tensor | None = None

    def draw_noise(self, pixels: Tensor) -> Tensor:
        """Return standard normal noise of the pixels' shape, the same for every strength."""
        if self._noise is None:
            generator = make_generator(self.seed, "noise", self.number, device=pixels.device)
            self._noise = torch.randn(pixels.shape, generator=generator, device=pixels.device)
        return self._noise

    def alternate(self, pixels: Tensor, count: int, change: Callable[[Tensor, int], Tensor]) -> Tensor:
        """Change images in `count` directions, each image in the direction of its position.

        Args:
            pixels: (N, C, H, W) uint8.
            count: number of directions.
            change: maps images and the index of a direction to changed images.
        """
        changed = torch.empty_like(pixels)
        for direction in range(count):
            rows = slice((direction - self.first) % count, None, count)
            if len(pixels[rows]):
                changed[rows] = change(pixels[rows], direction)
        return changed


class Corruption(NamedTuple):
    """A change of images at several strengths."""

    title: str
    unit: str
    """description of the strengths"""
    levels: tuple[float | None, ...]
    """strengths in ascending or descending order; None stands for the original images"""
    original: str
    """strength of the original images, as shown on an axis"""
    function: Callable[[Tensor, float, Place], Tensor]

    @property
    def strengths(self) -> tuple[float, ...]:
        return tuple(level for level in self.levels if level is not None)

    def apply(self, pixels: Tensor, strength: float, place: Place) -> Tensor:
        """Map (N, C, H, W) uint8 to corrupted images of the same shape, on the same device."""
        return self.function(pixels, strength, place)


def shift(pixels: Tensor, percent: float, place: Place, border: str) -> Tensor:
    """Shift images by a share of their side, at least a pixel, in turn up, right, down and left."""

    def move(images: Tensor, direction: int) -> Tensor:
        (rows, columns), (height, width) = DIRECTIONS[direction], images.shape[-2:]
        rows, columns = rows * _count_pixels(height, percent), columns * _count_pixels(width, percent)
        padding = [max(columns, 0), max(rows, 0), max(-columns, 0), max(-rows, 0)]  # left, top, right, bottom
        padded = F.pad(images, padding, padding_mode=border)
        return F.crop(padded, max(-rows, 0), max(-columns, 0), height, width)

    return place.alternate(pixels, len(DIRECTIONS), move)


def scale(pixels: Tensor, factor: float, place: Place) -> Tensor:
    """Scale images about their centre; the border is black."""
    return _transform(pixels, scale=factor)


def rotate(pixels: Tensor, degrees: float, place: Place) -> Tensor:
    """Rotate images about their centre, in turn clockwise and counterclockwise; the border is black."""
    return place.alternate(pixels, 2, lambda images, side: _transform(images, angle=_alternate_sign(degrees, side)))


def shear(pixels: Tensor, degrees: float, place: Place) -> Tensor:
    """Shear images along their rows, in turn to the left and to the right; the border is black."""
    return place.alternate(pixels, 2, lambda images, side: _transform(images, shear=_alternate_sign(degrees, side)))


def blur(pixels: Tensor, percent: float, place: Place) -> Tensor:
    """Blur images by a Gaussian whose standard deviation is a share of their shorter side."""
    shorter = min(pixels.shape[-2:])
    sigma = percent / 100 * shorter
    radius = min(math.ceil(4 * sigma), shorter - 1)  # the border is reflected
    return F.gaussian_blur(pixels, [2 * radius + 1] * 2, [sigma, sigma])


def add_noise(pixels: Tensor, percent: float, place: Place) -> Tensor:
    """Add normal noise, independent for each value, whose standard deviation is a share of the range of levels."""
    noisy = torch.add(pixels, place.draw_noise(pixels), alpha=2.55 * percent)
    return noisy.round_().clamp_(0, 255).byte()


def change_contrast(pixels: Tensor, factor: float, place: Place) -> Tensor:
    """Multiply the difference of each level from the image's mean grey."""
    return F.adjust_contrast(pixels, factor)


def change_brightness(pixels: Tensor, factor: float, place: Place) -> Tensor:
    """Multiply the levels of all pixels by a factor."""
    return F.adjust_brightness(pixels, factor)


def compress(pixels: Tensor, quality: float, place: Place) -> Tensor:
    """Compress images as JPEG and decode them, by Pillow on the CPU: torchvision's function will be removed."""
    images = pixels.permute(0, 2, 3, 1).cpu().numpy()
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:  # Pillow lets other threads run meanwhile
        parts = np.array_split(images, torch.get_num_threads())
        compressed = np.concatenate([*pool.map(functools.partial(_compress_each, quality=int(quality)), parts)])
    return torch.from_numpy(compressed).to(pixels.device).permute(0, 3, 1, 2)


def _compress_each(images: np.ndarray, quality: int) -> np.ndarray:
    """Compress and decode images, (N, H, W, C) uint8."""
    compressed = np.empty_like(images)
    for image, result in zip(images, compressed, strict=True):
        file = io.BytesIO()
        Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(file, "JPEG", quality=quality)
        result[:] = np.asarray(Image.open(file)).reshape(result.shape)
    return compressed


def occlude(pixels: Tensor, percent: float, place: Place) -> Tensor:
    """Cover a rectangle, whose sides are a share of the image's, with grey, in turn at each of nine places."""
    height, width = pixels.shape[-2:]
    rows, columns = _count_pixels(height, percent), _count_pixels(width, percent)
    grey = torch.tensor(GREY, dtype=torch.uint8, device=pixels.device)

    def cover(images: Tensor, index: int) -> Tensor:
        down, right = divmod(index, OCCLUSION_PLACES)
        top, left = down * (height - rows), right * (width - columns)
        return F.erase(images, top // (OCCLUSION_PLACES - 1), left // (OCCLUSION_PLACES - 1), rows, columns, grey)

    return place.alternate(pixels, OCCLUSION_PLACES**2, cover)


def _count_pixels(side: int, percent: float) -> int:
    """Return a share of a side in whole pixels, at least 1 and less than the side."""
    return max(1, min(round(percent / 100 * side), side - 1))


def _alternate_sign(degrees: float, side: int) -> float:
    return -degrees if side else degrees


def _transform(pixels: Tensor, angle: float = 0.0, scale: float = 1.0, shear: float = 0.0) -> Tensor:
    """Apply an affine map about the centre, with bilinear interpolation and a black border."""
    return F.affine(pixels, angle, [0, 0], scale, [shear, 0.0], InterpolationMode.BILINEAR)


SHIFTS, FACTORS = (None, 3.0, 6.0, 12.5, 25.0), (0.25, 0.5, 0.75, None, 1.5, 2.0)
CORRUPTIONS = {
    "shift": Corruption(
        "shift, black border", "% of the side", SHIFTS, "0", functools.partial(shift, border="constant")
    ),
    "shift_reflect": Corruption(
        "shift, reflected border", "% of the side", SHIFTS, "0", functools.partial(shift, border="reflect")
    ),
    "scale": Corruption("scale", "factor", (0.5, 0.7, 0.85, None, 1.2, 1.5, 2.0), "1", scale),
    "rotation": Corruption("rotation", "degrees", (None, 5.0, 10.0, 20.0, 30.0, 45.0), "0", rotate),
    "shear": Corruption("shear", "degrees", (None, 5.0, 10.0, 20.0, 30.0), "0", shear),
    "blur": Corruption("blur", "sigma, % of the side", (None, 1.5, 3.0, 4.5, 6.0), "0", blur),
    "noise": Corruption("noise", "sigma, % of the range", (None, 2.0, 5.0, 10.0, 20.0), "0", add_noise),
    "contrast": Corruption("contrast", "factor", FACTORS, "1", change_contrast),
    "brightness": Corruption("brightness", "factor", FACTORS, "1", change_brightness),
    "jpeg": Corruption("JPEG", "quality", (None, 80.0, 50.0, 30.0, 10.0, 5.0), "none", compress),
    "occlusion": Corruption("occlusion", "% of the side", (None, 20.0, 30.0, 40.0, 60.0), "0", occlude),
}
"""Corruptions by the name that the command line and tables use."""


def select_corruptions(names: Sequence[str]) -> list[str]:
    """Return the given names of corruptions in the order of CORRUPTIONS, or all names if none is given.

    Raises:
        UserError: with a problem for each unknown name.
    """
    known, remedy = [*CORRUPTIONS], f"Choices: {join_names(CORRUPTIONS)}."
    problems = [
        Problem("--only", did_you_mean(name, known) or "unknown corruption", name, remedy)
        for name in names
        if name not in CORRUPTIONS
    ]
    if problems:
        raise UserError("the command line", problems)
    return [name for name in CORRUPTIONS if not names or name in names]
