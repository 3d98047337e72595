"""A confusion matrix as a heat map, and the pairs of classes that are confused most."""

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from viewfinder.reporting.style import shorten_label

WRITTEN = 20
"""Up to so many classes, each cell holds its number, but for 0.00."""


def row_normalised(counts: np.ndarray) -> np.ndarray:
    """(K, K) counts -> shares of each true class, rows summing to 1; a class without pictures has a row of zeros."""
    totals = counts.sum(axis=1, keepdims=True)
    return np.divide(counts, totals, out=np.zeros(counts.shape), where=totals > 0)


def draw_confusion(counts: np.ndarray, class_names: list[str], split: str, numbers: bool = True) -> Figure:
    """Rows are true classes; colours and numbers are shares of the row.

    Args:
        counts: (K, K) pictures.
        split: named in the title.
        numbers: write the shares into the cells.
    """
    shares, classes = row_normalised(counts), len(class_names)
    every = max(1, classes // 40)
    ticks, names = range(0, classes, every), [shorten_label(name) for name in class_names[::every]]
    # By hand, in inches: Matplotlib's own layout takes three times as long as the drawing, every epoch.
    side, label = min(1.2 + 0.5 * classes, 12), 0.09 * max(map(len, names))
    left, bottom, right, top = label + 0.6, 0.7 * label + 0.75, 1.4, 0.45
    width, height = left + side + right, bottom + side + top
    figure = Figure(figsize=(width, height))
    axes = figure.add_axes((left / width, bottom / height, side / width, side / height))
    beside = figure.add_axes(
        ((left + side + 0.2) / width, (bottom + 0.1 * side) / height, 0.2 / width, 0.8 * side / height)
    )
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(ticks, names, rotation=45, ha="right", rotation_mode="anchor", parse_math=False)
    axes.set_yticks(ticks, names, parse_math=False)
    axes.set(title=f"Confusion matrix, {split}", xlabel="predicted class", ylabel="true class")
    figure.colorbar(image, cax=beside, label="share of the true class")
    if numbers and classes <= WRITTEN:
        for row, column in np.ndindex(classes, classes):
            share = shares[row, column]
            if share < 0.005:
                continue
            colour = "white" if share > 0.5 else "#333333"
            axes.text(column, row, f"{share:.2f}", ha="center", va="center", color=colour, fontsize=8)
    return figure


class ConfusionFrames:
    """The heat map without numbers for one epoch after another: all but its cells is drawn once.

    Of more than some 1,200 classes it leaves out those that fall between two pixels.
    """

    def __init__(self, class_names: list[str], split: str):
        self.classes = len(class_names)
        figure = draw_confusion(np.zeros((self.classes, self.classes)), class_names, split, numbers=False)
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        self.empty = np.asarray(canvas.buffer_rgba())[..., :3].copy()
        axes = figure.axes[0]
        self.colours = axes.images[0].cmap
        (left, bottom), (right, top) = axes.get_window_extent().get_points().round().astype(int)
        height = len(self.empty)
        # One pixel less on each side leaves the frame.
        self.inside = (slice(height - top + 1, height - bottom - 1), slice(left + 1, right - 1))

    def draw(self, counts: np.ndarray) -> Image.Image:
        """Draw the heat map of counts, (K, K)."""
        frame = self.empty.copy()
        down, across = (
            self.classes * np.arange(each.stop - each.start) // (each.stop - each.start) for each in self.inside
        )
        cells = self.colours(row_normalised(counts), bytes=True)[..., :3]
        frame[self.inside] = cells[:, across][down]
        return Image.fromarray(frame)


def most_confused(counts: np.ndarray, class_names: list[str], most: int = 8) -> list[dict[str, str | int | float]]:
    """Pairs of a true and a predicted class, most pictures first: {"true", "predicted", "pictures", "share"}."""
    shares = row_normalised(counts)
    wrong = [(int(counts[i, j]), i, j) for i, j in np.ndindex(counts.shape) if i != j and counts[i, j]]
    wrong.sort(key=lambda each: (-each[0], each[1], each[2]))
    return [
        {"true": class_names[i], "predicted": class_names[j], "pictures": count, "share": float(shares[i, j])}
        for count, i, j in wrong[:most]
    ]
