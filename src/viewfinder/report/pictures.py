"""Pictures with what the network says of them."""

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from viewfinder.metrics import Predictions
from viewfinder.report.confusion import short


def draw_pictures(pixels: Tensor, predictions: Predictions, class_names: list[str], columns: int = 4) -> Figure:
    """A grid of pictures, each under its predicted class and probability; in red, with the true class, where wrong.

    Args:
        pixels: (n, C, H, W) uint8.
        predictions: of the same n pictures.
    """
    rows = max(1, -(-len(pixels) // columns))
    height, width = pixels.shape[-2:]
    # One picture of all of them: sixteen axes take ten times as long, every epoch.
    across, down = round(1.25 * width), round(1.5 * height)
    canvas = np.full((rows * down, columns * across, 3), 255, dtype=np.uint8)
    figure = Figure(figsize=(1.7 * columns, 1.7 * rows * down / across))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.axis("off")
    probabilities = predictions.probabilities()
    for place, (picture, shares, label) in enumerate(zip(pixels, probabilities, predictions.labels, strict=True)):
        row, column = divmod(place, columns)
        top, left = row * down + down - height, column * across + (across - width) // 2
        canvas[top : top + height, left : left + width] = as_image(picture)
        predicted = int(shares.argmax())
        right = predicted == int(label)
        title = f"{short(class_names[predicted], 18)} {shares[predicted]:.0%}"
        if not right:
            title += f"\nis {short(class_names[int(label)], 18)}"
        axes.text(
            left + width / 2, top - 0.04 * down, title,
            fontsize=9, color="#2b6a30" if right else "#b3261e", ha="center", va="bottom", parse_math=False,
        )  # fmt: skip
    axes.imshow(canvas, interpolation="nearest", aspect="auto")
    return figure


def as_image(picture: Tensor) -> np.ndarray:
    """(C, H, W) -> (H, W, C)"""
    return picture.permute(1, 2, 0).numpy()
