"""Thumbnails on one sheet, as TensorBoard's projector takes them."""

import math
from collections.abc import Sequence

from PIL import Image
from torch import Tensor

from viewfinder.reporting.charts.images import fitted

SMALLEST, LARGEST = 32, 64
"""Pixels of a thumbnail's side: each pixel of a smaller picture becomes a square."""
SHEET = 8192
"""Pixels of the side of the largest sheet that the projector takes."""


def side_of(shape: tuple[int, ...], count: int) -> int:
    """Pixels of the side of thumbnails of so many pictures (C, H, W): they fit on one sheet."""
    longer = max(shape[1:])
    return min(longer * -(-SMALLEST // longer), LARGEST, SHEET // _across(count))


def thumbnail(picture: Tensor, side: int) -> Image.Image:
    """(C, H, W) uint8 -> the picture in the middle of a white square."""
    image, square = fitted(picture, side), Image.new("RGB", (side, side), "white")
    square.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    return square


def draw_sheet(thumbnails: Sequence[Image.Image]) -> Image.Image:
    """Row by row, as many in a row as there are rows: the projector takes the wrong ones from other sheets."""
    columns, side = _across(len(thumbnails)), thumbnails[0].width
    sheet = Image.new("RGB", (columns * side, columns * side), "white")
    for place, square in enumerate(thumbnails):
        row, column = divmod(place, columns)
        sheet.paste(square, (column * side, row * side))
    return sheet


def _across(count: int) -> int:
    return math.isqrt(count - 1) + 1
