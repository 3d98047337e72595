"""Grid of images with their predictions."""

import functools
from pathlib import Path

import matplotlib
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from viewfinder.data.decode import to_pil_image
from viewfinder.evaluation.metrics import Predictions
from viewfinder.reporting.style import shorten_label

SIDE = 150
"""Longer side of an image in pixels."""
CELL_WIDTH, CELL_HEIGHT = 180, 200
"""Size of an image with its caption in pixels."""
RIGHT, WRONG = "#2b6a30", "#b3261e"


def draw_images(pixels: Tensor, predictions: Predictions, class_names: list[str], columns: int = 4) -> Image.Image:
    """Draw a grid of images, each under its predicted class; wrong predictions are red and name the true class.

    Pillow draws the grid: Matplotlib takes twenty times as long, in every epoch.

    Args:
        pixels: (n, C, H, W) uint8.
        predictions: predictions of the same n images.
        class_names: class names in the order of the logits.
        columns: images in a row.
    """
    rows = max(1, -(-len(pixels) // columns))
    sheet = Image.new("RGB", (columns * CELL_WIDTH, rows * CELL_HEIGHT), "white")
    draw = ImageDraw.Draw(sheet)
    captions = format_captions(predictions, class_names)
    for position, (image, (caption, is_right)) in enumerate(zip(pixels, captions, strict=True)):
        row, column = divmod(position, columns)
        resized = resize_to_side(image)
        centre, top = column * CELL_WIDTH + CELL_WIDTH // 2, (row + 1) * CELL_HEIGHT - resized.height
        sheet.paste(resized, (centre - resized.width // 2, top))
        draw.multiline_text(
            (centre, top - 5), caption,
            fill=RIGHT if is_right else WRONG, font=_load_font(), anchor="md", align="center", spacing=2,
        )  # fmt: skip
    return sheet


def format_captions(predictions: Predictions, class_names: list[str]) -> list[tuple[str, bool]]:
    """Return a caption for each image, and whether its prediction is right."""
    captions = []
    for probabilities, label in zip(predictions.probabilities(), predictions.labels.tolist(), strict=True):
        predicted = int(probabilities.argmax())
        truth = "" if predicted == label else f"\nis {shorten_label(class_names[label], 18)}"
        name = shorten_label(class_names[predicted], 18)
        captions.append((f"{name} {probabilities[predicted]:.0%}{truth}", not truth))
    return captions


def resize_to_side(image: Tensor, side: int = SIDE) -> Image.Image:
    """Resize an image, (C, H, W) uint8, until its longer side has `side` pixels; enlarged pixels become squares."""
    height, width = image.shape[1:]
    pil_image = to_pil_image(image)
    scale = side / max(height, width)
    size = max(1, round(scale * width)), max(1, round(scale * height))
    return pil_image.resize(size, Image.Resampling.NEAREST if scale >= 1 else Image.Resampling.BOX)


@functools.cache
def _load_font() -> ImageFont.FreeTypeFont:
    """Load Matplotlib's font, which the other charts of a report use."""
    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"), 13)
