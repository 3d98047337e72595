"""Images of kernels, feature maps and attributions."""

import matplotlib
import numpy as np
from PIL import Image
from torch import Tensor

from viewfinder.reporting.charts.images import resize_to_side

MAX_KERNELS, MAX_MAPS = 64, 16
"""Kernels of a layer, and maps of a block, that are drawn."""
COLUMNS = 8
TILE = 48
"""Smallest side in pixels of a drawn kernel or map."""
GAP = 3
HEAT_SIDE = 192
"""Side in pixels of a drawn attribution."""
GAP_LEVEL = 128


def draw_kernels(kernels: Tensor) -> Image.Image:
    """Draw the first kernels of a layer, (n, C, H, W), each scaled so that grey is 0.

    Three channels are drawn as colours; the mean of any other number of channels as grey.
    """
    weights = kernels[:MAX_KERNELS].numpy()
    weights = weights if weights.shape[1] == 3 else weights.mean(1, keepdims=True)
    largest = np.abs(weights).max((1, 2, 3), keepdims=True)
    levels = np.round(127.5 + 127.5 * weights / np.where(largest > 0, largest, 1)).astype(np.uint8)
    return _draw_tiles([_to_image(each.transpose(1, 2, 0)) for each in levels])


def draw_maps(maps: Tensor) -> Image.Image:
    """Draw those maps of a layer, (C, h, w), that vary most over the image, each from its least to its largest value.

    They stay in their order. Dark blue is the least value and yellow the largest.
    """
    values = maps.numpy()
    chosen = np.sort(np.argsort(-values.std((1, 2)), kind="stable")[:MAX_MAPS])
    low, high = (getattr(values[chosen], name)((1, 2), keepdims=True) for name in ("min", "max"))
    scaled = (values[chosen] - low) / np.where(high > low, high - low, 1)
    colours = matplotlib.colormaps["viridis"](scaled)[..., :3]
    return _draw_tiles([_to_image(np.round(255 * each).astype(np.uint8)) for each in colours])


def draw_heat(image: Tensor, heat: Tensor) -> Image.Image:
    """Draw an attribution over a grey copy of its image; the brighter, the more the class rests on a place.

    Args:
        image: (C, H, W) uint8, square or not.
        heat: (h, w), scaled to its largest value; negative values count as 0.
    """
    base = resize_to_side(image, HEAT_SIDE).convert("L")
    values = heat.clamp(min=0).numpy()
    levels = Image.fromarray(np.round(255 * values / max(float(values.max()), 1e-12)).astype(np.uint8))
    scaled = np.asarray(levels.resize(base.size, Image.Resampling.BILINEAR)) / 255
    grey = np.asarray(base)[..., None] / 255
    colours = matplotlib.colormaps["inferno"](scaled)[..., :3]
    return _to_image(np.round(255 * (0.4 * grey + 0.6 * colours)).astype(np.uint8))


def _to_image(levels: np.ndarray) -> Image.Image:
    return Image.fromarray(levels[..., 0] if levels.shape[2] == 1 else levels)


def _draw_tiles(tiles: list[Image.Image]) -> Image.Image:
    """Draw images of one size in rows, enlarged by a whole factor to at least TILE pixels."""
    width, height = tiles[0].size
    factor = max(1, -(-TILE // max(width, height)))
    width, height = width * factor, height * factor
    columns, rows = min(COLUMNS, len(tiles)), -(-len(tiles) // COLUMNS)
    size = columns * (width + GAP) - GAP, rows * (height + GAP) - GAP
    sheet = Image.new("RGB", size, (GAP_LEVEL, GAP_LEVEL, GAP_LEVEL))
    for position, tile in enumerate(tiles):
        row, column = divmod(position, COLUMNS)
        place = column * (width + GAP), row * (height + GAP)
        sheet.paste(tile.resize((width, height), Image.Resampling.NEAREST), place)
    return sheet
