"""Shared style of the charts: colours, grid, frame and labels."""

import functools

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.font_manager import findfont, get_font

from viewfinder.errors import printable

SPLITS = {"best_val": ("validation", "#1f5fbf", "o"), "best_test": ("test", "#d9822b", "s")}
"""Name, colour and marker of an accuracy at the best epoch, by its column."""
SOFT = "#5c6675"


def style_axes(axes: Axes) -> None:
    """Draw a light grid below the data, and no frame at the top and the right."""
    axes.grid(alpha=0.25)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def shorten_label(label: str, max_length: int = 24) -> str:
    """Cut a label to one line of at most `max_length` characters; characters that the font lacks become squares."""
    label = "".join(character if ord(character) in _font_code_points() else "□" for character in printable(label))
    return label if len(label) <= max_length else f"{label[: max_length - 1]}…"


def name_repeats(runs: pd.DataFrame) -> str:
    """Return the runs of one setting over which a chart averages: seeds, and folds if there are some."""
    return "seeds and folds" if "fold" in runs else "seeds"


@functools.cache
def _font_code_points() -> frozenset[int]:
    return frozenset(get_font(findfont("DejaVu Sans")).get_charmap())
