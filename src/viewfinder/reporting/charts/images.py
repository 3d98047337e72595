"""Pictures with what the network says of them."""

import functools
from pathlib import Path

import matplotlib
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from viewfinder.data.decode import as_picture
from viewfinder.evaluation.metrics import Predictions
from viewfinder.reporting.charts.confusion import short

SIDE = 150
"""Pixels of a picture's longer side."""
ACROSS, DOWN = 180, 200
"""Pixels from one picture to the next, with its caption."""
RIGHT, WRONG = "#2b6a30", "#b3261e"


def draw_images(pixels: Tensor, predictions: Predictions, class_names: list[str], columns: int = 4) -> Image.Image:
    """A grid of pictures, each under its predicted class and probability; in red, with the true class, where wrong.

    By Pillow: Matplotlib takes twenty times as long, every epoch.

    Args:
        pixels: (n, C, H, W) uint8.
        predictions: of the same n pictures.
    """
    rows = max(1, -(-len(pixels) // columns))
    sheet = Image.new("RGB", (columns * ACROSS, rows * DOWN), "white")
    draw = ImageDraw.Draw(sheet)
    for place, (picture, (caption, right)) in enumerate(zip(pixels, captions(predictions, class_names), strict=True)):
        row, column = divmod(place, columns)
        image = fitted(picture)
        centre, top = column * ACROSS + ACROSS // 2, (row + 1) * DOWN - image.height
        sheet.paste(image, (centre - image.width // 2, top))
        draw.multiline_text(
            (centre, top - 5), caption,
            fill=RIGHT if right else WRONG, font=_font(), anchor="md", align="center", spacing=2,
        )  # fmt: skip
    return sheet


def captions(predictions: Predictions, class_names: list[str]) -> list[tuple[str, bool]]:
    """What is written above each picture, and whether the prediction is right."""
    found = []
    for shares, label in zip(predictions.probabilities(), predictions.labels.tolist(), strict=True):
        predicted = int(shares.argmax())
        truth = "" if predicted == label else f"\nis {short(class_names[label], 18)}"
        found.append((f"{short(class_names[predicted], 18)} {shares[predicted]:.0%}{truth}", not truth))
    return found


def fitted(picture: Tensor, side: int = SIDE) -> Image.Image:
    """(C, H, W) uint8 -> the picture with its longer side at `side` pixels; in squares, where it had fewer."""
    height, width = picture.shape[1:]
    image = as_picture(picture)
    scale = side / max(height, width)
    size = max(1, round(scale * width)), max(1, round(scale * height))
    return image.resize(size, Image.Resampling.NEAREST if scale >= 1 else Image.Resampling.BOX)


@functools.cache
def _font() -> ImageFont.FreeTypeFont:
    """Matplotlib's own, so that all of a report's letters are alike."""
    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"), 13)
