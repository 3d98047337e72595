"""Thumbnails: on pages, and on one sheet, the sprite of TensorBoard's projector."""

import io
import math
from collections.abc import Sequence

from PIL import Image
from torch import Tensor

from viewfinder.data.decode import to_pil_image
from viewfinder.reporting.charts.files import encode_content, encode_png
from viewfinder.reporting.charts.images import resize_to_side

MIN_SIDE, MAX_SIDE = 32, 64
"""Side of a thumbnail in pixels; smaller images are enlarged by a whole factor."""
MAX_SHEET_SIDE = 8192
"""Side in pixels of the largest sheet that the projector accepts."""
JPEG_QUALITY = 85


def encode_thumbnail(image: Tensor, side: int) -> str:
    """Return an image, (C, H, W) uint8, as a data URL: PNG, or JPEG of at most `side` pixels."""
    thumbnail, file = to_pil_image(image), io.BytesIO()
    if max(thumbnail.size) <= side:
        thumbnail.save(file, "png")
        return encode_png(file.getvalue())
    thumbnail.thumbnail((side, side))
    thumbnail.save(file, "jpeg", quality=JPEG_QUALITY)
    return encode_content(file.getvalue(), "image/jpeg")


def compute_side(shape: tuple[int, ...], count: int) -> int:
    """Return the side in pixels at which thumbnails of `count` images, (C, H, W), fit on one sheet."""
    longer = max(shape[1:])
    return min(longer * -(-MIN_SIDE // longer), MAX_SIDE, MAX_SHEET_SIDE // _count_columns(count))


def draw_thumbnail(image: Tensor, side: int) -> Image.Image:
    """Draw an image, (C, H, W) uint8, in the middle of a white square."""
    resized, square = resize_to_side(image, side), Image.new("RGB", (side, side), "white")
    square.paste(resized, ((side - resized.width) // 2, (side - resized.height) // 2))
    return square


def draw_sheet(thumbnails: Sequence[Image.Image]) -> Image.Image:
    """Draw thumbnails row by row on a square sheet: the projector misreads sheets of other shapes."""
    columns, side = _count_columns(len(thumbnails)), thumbnails[0].width
    sheet = Image.new("RGB", (columns * side, columns * side), "white")
    for position, thumbnail in enumerate(thumbnails):
        row, column = divmod(position, columns)
        sheet.paste(thumbnail, (column * side, row * side))
    return sheet


def _count_columns(count: int) -> int:
    return math.isqrt(count - 1) + 1
