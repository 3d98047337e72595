"""Confusion matrix as a heat map."""

import functools
from typing import NamedTuple

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import Colormap
from matplotlib.figure import Figure
from PIL import Image

from viewfinder.evaluation.confusion import normalise_rows
from viewfinder.reporting.style import get_cell_colours, shorten_label

MAX_NUMBERED = 20
"""Largest number of classes for which cells show their share; shares that round to 0.00 are left out."""


def draw_confusion(counts: np.ndarray, class_names: list[str], split: str, numbers: bool = True) -> Figure:
    """Draw a confusion matrix with true classes in rows; colours and numbers are shares of the row.

    Args:
        counts: images by true and predicted class, (K, K).
        class_names: K names.
        split: name of the split for the title.
        numbers: write the shares into the cells.
    """
    shares, classes = normalise_rows(counts), len(class_names)
    step = max(1, classes // 40)
    ticks, names = range(0, classes, step), [shorten_label(name) for name in class_names[::step]]
    has_numbers = numbers and classes <= MAX_NUMBERED
    # Explicit layout in inches: Matplotlib's takes three times as long as the drawing, in every epoch.
    side, label = min(max(0.44 * classes, 2.4), 12), 0.09 * max(map(len, names))
    left, bottom, right, top = label + 0.45, 0.7 * label + 0.6, 0.1 if has_numbers else 1.4, 0.6
    width, height = left + side + right, bottom + side + top
    figure = Figure(figsize=(width, height))
    axes = figure.add_axes((left / width, bottom / height, side / width, side / height))
    image = axes.imshow(shares, cmap=get_cell_colours(has_numbers), vmin=0, vmax=1)
    tilted = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"} if max(map(len, names)) > 3 else {}
    axes.set_xticks(ticks, names, parse_math=False, **tilted)
    axes.set_yticks(ticks, names, parse_math=False)
    axes.set(xlabel="predicted class", ylabel="true class")
    axes.set_title(f"Confusion matrix, {split}\nshares of the true class", loc="left", fontsize=11)
    if not has_numbers:
        colour_axes = figure.add_axes(
            ((left + side + 0.2) / width, (bottom + 0.1 * side) / height, 0.2 / width, 0.8 * side / height)
        )
        figure.colorbar(image, cax=colour_axes)
    else:
        for row, column in np.ndindex(classes, classes):
            share = shares[row, column]
            if share < 0.005:
                continue
            axes.text(column, row, f"{share:.2f}", ha="center", va="center")
    return figure


class ConfusionFrames:
    """Heat maps without numbers, one per epoch; axes and labels are drawn only once.

    With more than about 1,200 classes, those that fall between two pixels are left out.

    Args:
        class_names: K names.
        split: name of the split for the title.
    """

    def __init__(self, class_names: list[str], split: str):
        self.classes = len(class_names)
        self.background, self.inside, self.colours = _draw_background(tuple(class_names), split)

    def draw(self, counts: np.ndarray) -> Image.Image:
        """Draw the heat map of counts, (K, K)."""
        frame = self.background.copy()
        rows, columns = (
            self.classes * np.arange(part.stop - part.start) // (part.stop - part.start) for part in self.inside
        )
        cells = self.colours(normalise_rows(counts), bytes=True)[..., :3]
        frame[self.inside] = cells[:, columns][rows]
        return Image.fromarray(frame)


class _Background(NamedTuple):
    """Heat map without counts: its pixels, (H, W, 3) uint8, the rows and columns of its cells, and their colours."""

    pixels: np.ndarray
    inside: tuple[slice, slice]
    colours: Colormap


@functools.lru_cache(maxsize=2)  # for the runs of one process
def _draw_background(class_names: tuple[str, ...], split: str) -> _Background:
    classes = len(class_names)
    figure = draw_confusion(np.zeros((classes, classes)), [*class_names], split, numbers=False)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    pixels = np.asarray(canvas.buffer_rgba())[..., :3].copy()
    axes = figure.axes[0]
    (left, bottom), (right, top) = axes.get_window_extent().get_points().round().astype(int)
    # Leave one pixel on each side for the frame.
    inside = slice(len(pixels) - top + 1, len(pixels) - bottom - 1), slice(left + 1, right - 1)
    return _Background(pixels, inside, axes.images[0].cmap)
