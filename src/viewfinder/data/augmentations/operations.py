"""Operations of RandAugment and TrivialAugment, each on many images with a magnitude of their own.

torchvision's classes draw one operation for a whole batch. Here each image has its own, drawn on the CPU. The images
are sorted by operation, and each operation works on its images alone, without waiting for a GPU; the geometric ones are
a single operation with a map for each image.
"""

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms.v2.functional import autocontrast, equalize

from viewfinder.data.augmentations.color import adjust_brightness, adjust_contrast, adjust_saturation

Operation = Callable[[Tensor, Tensor], Tensor]
LEVELS = 31
"""Number of magnitudes, from none to the largest."""


def apply_operations(pixels: Tensor, names: Sequence[str], chosen: np.ndarray, magnitudes: np.ndarray) -> Tensor:
    """Apply one operation to each image.

    Args:
        pixels: (N, C, H, W) uint8.
        names: names of operations.
        chosen: (N,) index in `names` for each image.
        magnitudes: (N,) float.
    """
    groups = ["geometric" if name in GEOMETRIC else name for name in names]
    distinct = [*dict.fromkeys(groups)]
    group_numbers = np.array([distinct.index(group) for group in groups])[chosen]
    order = np.argsort(group_numbers, kind="stable")
    drawn = zip(chosen[order], magnitudes[order], strict=True)
    maps = [find_source(names[int(index)], magnitude, *pixels.shape[-2:]) for index, magnitude in drawn]
    rows, values, sources = (
        torch.from_numpy(array).to(pixels.device, non_blocking=True)
        for array in (order, magnitudes[order].astype(np.float32), np.array(maps, np.float32))
    )
    images = pixels.permute(0, 2, 3, 1).index_select(0, rows)  # (N, H, W, C), as batches are stored
    start = 0
    for group, count in zip(distinct, np.bincount(group_numbers, minlength=len(distinct)).tolist(), strict=True):
        part = slice(start, start + count)
        start += count
        if count and group == "geometric":
            images[part] = transform(images[part], sources[part])
        elif count and group != "identity":
            changed = OPERATIONS[group](images[part].permute(0, 3, 1, 2), values[part, None, None, None])
            images[part] = changed.permute(0, 2, 3, 1)
    return torch.empty_like(images).index_copy_(0, rows, images).permute(0, 3, 1, 2)


def draw_magnitudes(
    largest: Mapping[str, float], chosen: np.ndarray, levels: np.ndarray | int, rng: np.random.Generator
) -> np.ndarray:
    """Return a magnitude for each image, (N,): a share of its operation's largest, some with a random sign.

    Args:
        largest: maps the names of operations to their largest magnitudes.
        chosen: (N,) index of an operation for each image.
        levels: from 0 to LEVELS - 1, for each image or for all.
        rng: source of the signs.
    """
    signs = np.where(rng.random(len(chosen)) < 0.5, -1.0, 1.0)
    is_signed = np.array([name in SIGNED for name in largest])[chosen]
    return np.array([*largest.values()])[chosen] * levels / (LEVELS - 1) * np.where(is_signed, signs, 1.0)


def list_magnitudes(
    shear: float, translation: tuple[float, float], rotation: float, enhancement: float, bits: float
) -> dict[str, float]:
    """Map the operations of RandAugment and TrivialAugment to their largest magnitudes.

    Args:
        shear: pixels for each pixel.
        translation: pixels in x and y.
        rotation: degrees.
        enhancement: change of the factor of brightness, color, contrast and sharpness.
        bits: number of bits that posterize removes.
    """
    return {
        "identity": 0.0,
        "shear_x": shear,
        "shear_y": shear,
        "translate_x": translation[0],
        "translate_y": translation[1],
        "rotate": rotation,
        "brightness": enhancement,
        "color": enhancement,
        "contrast": enhancement,
        "sharpness": enhancement,
        "posterize": bits,
        "solarize": 1.0,
        "auto_contrast": 0.0,
        "equalize": 0.0,
    }


def find_source(name: str, magnitude: float, height: int, width: int) -> tuple[float, ...]:
    """Return the place from which a geometric operation takes the pixel at (x, y), both from the upper left corner.

    Returns:
        (a, b, c, d, e, f) of the place (a x + b y + c, d x + e y + f); for other operations, (x, y).
    """
    if name == "shear_x":
        return 1, magnitude, 0, 0, 1, 0
    if name == "shear_y":
        return 1, 0, 0, magnitude, 1, 0
    if name == "translate_x":  # to the right by whole pixels
        return 1, 0, -int(magnitude), 0, 1, 0
    if name == "translate_y":
        return 1, 0, 0, 0, 1, -int(magnitude)
    if name == "rotate":  # counterclockwise by degrees about the centre
        cos, sin = math.cos(math.radians(magnitude)), math.sin(math.radians(magnitude))
        x, y = width / 2, height / 2
        return cos, -sin, x - cos * x + sin * y, sin, cos, y - sin * x - cos * y
    return 1, 0, 0, 0, 1, 0


def transform(images: Tensor, sources: Tensor) -> Tensor:
    """Return images whose pixels come from the nearest pixels at other places; outside of an image all is black.

    Args:
        images: (n, H, W, C) uint8.
        sources: (n, 6) as from `find_source`.
    """
    count, height, width, channels = images.shape
    device = images.device
    x, y = torch.arange(width, device=device)[None] + 0.5, torch.arange(height, device=device)[:, None] + 0.5
    a, b, c, d, e, f = sources.T[:, :, None, None]
    columns, rows = (a * x + b * y + c).floor(), (d * x + e * y + f).floor()
    is_inside = (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height)
    numbers = torch.arange(count, device=device)[:, None, None]
    places = (numbers * height + rows.clamp(0, height - 1).long()) * width + columns.clamp(0, width - 1).long()
    sampled = images.reshape(-1, channels).index_select(0, places.flatten()).view(images.shape)
    return sampled * is_inside[..., None]


def _enhance(adjust: Operation) -> Operation:
    """Return the operation that changes a factor by a magnitude from 1."""
    return lambda pixels, magnitudes: adjust(pixels.float(), 1 + magnitudes).round().byte()


def adjust_sharpness(levels: Tensor, factors: Tensor) -> Tensor:
    """Blend images with smoothed ones, except for their outermost pixels."""
    if min(levels.shape[-2:]) <= 2:
        return levels
    inner = levels[..., 1:-1, 1:-1]
    rows = levels[..., :-2, :] + levels[..., 1:-1, :] + levels[..., 2:, :]
    smooth = ((rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:] + 4 * inner) / 13).round()
    sharpened = levels.clone()
    sharpened[..., 1:-1, 1:-1] = (smooth + factors * (inner - smooth)).clamp(0, 255)
    return sharpened


def posterize(pixels: Tensor, magnitudes: Tensor) -> Tensor:
    """Remove a number of the lowest bits."""
    return pixels & (256 - 2 ** magnitudes.round().int()).byte()


def solarize(pixels: Tensor, magnitudes: Tensor) -> Tensor:
    """Invert levels from 255 * (1 - magnitude) on."""
    return torch.where(pixels >= 255 * (1 - magnitudes), 255 - pixels, pixels)


GEOMETRIC = frozenset({"shear_x", "shear_y", "translate_x", "translate_y", "rotate"})
SIGNED = GEOMETRIC | {"brightness", "color", "contrast", "sharpness"}
OPERATIONS: dict[str, Operation] = {
    "brightness": _enhance(adjust_brightness),
    "color": _enhance(adjust_saturation),
    "contrast": _enhance(adjust_contrast),
    "sharpness": _enhance(adjust_sharpness),
    "posterize": posterize,
    "solarize": solarize,
    "auto_contrast": lambda pixels, _: autocontrast(pixels),
    "equalize": lambda pixels, _: equalize(pixels),
}
