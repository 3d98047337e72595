"""Operations of RandAugment and TrivialAugment, each on many images with a magnitude of their own.

torchvision's classes draw one operation for a whole batch. Here each image has its own, drawn on the CPU. The images
are sorted by operation, and each operation works on its images alone, without waiting for a GPU.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn
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
    order = np.argsort(chosen, kind="stable")
    rows = torch.from_numpy(order).to(pixels.device, non_blocking=True)
    values = torch.from_numpy(magnitudes[order].astype(np.float32)).to(pixels.device, non_blocking=True)
    images = pixels.permute(0, 2, 3, 1).index_select(0, rows)  # (N, H, W, C), as batches are stored
    start = 0
    for name, count in zip(names, np.bincount(chosen, minlength=len(names)).tolist(), strict=True):
        part = slice(start, start + count)
        start += count
        if count and name != "identity":
            changed = OPERATIONS[name](images[part].permute(0, 3, 1, 2), values[part, None, None, None])
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


def shear_x(pixels: Tensor, magnitudes: Tensor) -> Tensor:
    """Shift each row by its distance from the upper edge; as all operations, magnitudes are (n, 1, 1, 1)."""
    return _sample(pixels, lambda x, y: (x + magnitudes[:, 0] * y, y))


def shear_y(pixels: Tensor, magnitudes: Tensor) -> Tensor:
    """Shift each column by its distance from the left edge."""
    return _sample(pixels, lambda x, y: (x, y + magnitudes[:, 0] * x))


def translate_x(pixels: Tensor, magnitudes: Tensor) -> Tensor:
    """Move images right by whole pixels."""
    return _sample(pixels, lambda x, y: (x - magnitudes[:, 0].trunc(), y))


def translate_y(pixels: Tensor, magnitudes: Tensor) -> Tensor:
    """Move images down by whole pixels."""
    return _sample(pixels, lambda x, y: (x, y - magnitudes[:, 0].trunc()))


def rotate(pixels: Tensor, magnitudes: Tensor) -> Tensor:
    """Rotate images counterclockwise about their centre, by degrees."""
    middle_y, middle_x = pixels.shape[-2] / 2, pixels.shape[-1] / 2
    angles = magnitudes[:, 0].deg2rad()
    cos, sin = angles.cos(), angles.sin()

    def turn(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        x, y = x - middle_x, y - middle_y
        return cos * x - sin * y + middle_x, sin * x + cos * y + middle_y

    return _sample(pixels, turn)


def _sample(pixels: Tensor, find_source: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]) -> Tensor:
    """Return images whose pixels come from the nearest pixels at other places; outside of an image all is black.

    Args:
        pixels: (n, C, H, W) uint8.
        find_source: maps x (1, W) and y (H, 1), in pixels from the upper left corner, to the places they come from.
    """
    count, _, height, width = pixels.shape
    device = pixels.device
    x, y = torch.arange(width, device=device)[None] + 0.5, torch.arange(height, device=device)[:, None] + 0.5
    source_x, source_y = (place.floor().expand(count, height, width) for place in find_source(x, y))
    is_inside = (source_x >= 0) & (source_x < width) & (source_y >= 0) & (source_y < height)
    columns, rows = source_x.clamp(0, width - 1).long(), source_y.clamp(0, height - 1).long()
    images = torch.arange(count, device=device)[:, None, None]
    return (pixels.permute(0, 2, 3, 1)[images, rows, columns] * is_inside[..., None]).permute(0, 3, 1, 2)


def _enhance(adjust: Operation) -> Operation:
    """Return the operation that changes a factor by a magnitude from 1."""
    return lambda pixels, magnitudes: adjust(pixels.float(), 1 + magnitudes).round().byte()


def adjust_sharpness(levels: Tensor, factors: Tensor) -> Tensor:
    """Blend images with smoothed ones, except for their outermost pixels."""
    if min(levels.shape[-2:]) <= 2:
        return levels
    inner = levels[..., 1:-1, 1:-1]
    smooth = ((9 * nn.functional.avg_pool2d(levels, 3, 1) + 4 * inner) / 13).round()
    sharpened = levels.clone()
    sharpened[..., 1:-1, 1:-1] = (smooth + factors * (inner - smooth)).clamp(0, 255)
    return sharpened


def posterize(pixels: Tensor, magnitudes: Tensor) -> Tensor:
    """Remove a number of the lowest bits."""
    return pixels & (256 - 2 ** magnitudes.round().int()).byte()


def solarize(pixels: Tensor, magnitudes: Tensor) -> Tensor:
    """Invert levels from 255 * (1 - magnitude) on."""
    return torch.where(pixels >= 255 * (1 - magnitudes), 255 - pixels, pixels)


SIGNED = frozenset(
    {"shear_x", "shear_y", "translate_x", "translate_y", "rotate", "brightness", "color", "contrast", "sharpness"}
)
OPERATIONS: dict[str, Operation] = {
    "shear_x": shear_x,
    "shear_y": shear_y,
    "translate_x": translate_x,
    "translate_y": translate_y,
    "rotate": rotate,
    "brightness": _enhance(adjust_brightness),
    "color": _enhance(adjust_saturation),
    "contrast": _enhance(adjust_contrast),
    "sharpness": _enhance(adjust_sharpness),
    "posterize": posterize,
    "solarize": solarize,
    "auto_contrast": lambda pixels, _: autocontrast(pixels),
    "equalize": lambda pixels, _: equalize(pixels),
}
