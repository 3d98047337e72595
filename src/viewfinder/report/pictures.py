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
    figure = Figure(figsize=(1.7 * columns, 2 * rows), layout="constrained")
    grid = np.atleast_1d(figure.subplots(rows, columns)).ravel()
    probabilities = predictions.probabilities()
    for axes in grid:
        axes.axis("off")
    for axes, picture, shares, label in zip(grid, pixels, probabilities, predictions.labels, strict=False):
        predicted = int(shares.argmax())
        right = predicted == int(label)
        title = f"{short(class_names[predicted], 18)} {shares[predicted]:.0%}"
        if not right:
            title += f"\nis {short(class_names[int(label)], 18)}"
        axes.imshow(as_image(picture), cmap="gray", vmin=0, vmax=255)
        axes.set_title(title, fontsize=9, color="#2b6a30" if right else "#b3261e", parse_math=False)
    return figure


def as_image(picture: Tensor) -> np.ndarray:
    """(C, H, W) -> (H, W, 3), or (H, W) of one channel."""
    return picture.permute(1, 2, 0).squeeze(-1).numpy()
