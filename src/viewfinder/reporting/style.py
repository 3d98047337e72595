"""Shared style of the charts: sizes, colours, markers, dashes, grid, frame and labels."""

import functools
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, ListedColormap
from matplotlib.font_manager import findfont, get_font

from viewfinder.errors import printable

CHART_WIDTH = 5.4
"""Width of a chart in inches: on a phone, whose charts are 370 pixels wide, letters of 10 points have 9.5 pixels."""
COLOURS = ("#1d54c2", "#d1781f", "#570000", "#00a1c2", "#754175", "#002266", "#ac59ff", "#a33018")
"""Colours of lines, which differ for colour-blind readers, too, and stand out on white and on its dark inversion."""
MARKERS, DASHES = ("o", "s", "^", "D", "v", "P", "X", "*"), ("-", "--", "-.", ":")
"""Markers and dashes of lines, which tell them apart without colour."""
BLUE, ORANGE = COLOURS[:2]
GREY = "#858e9c"
SOFT = "#5c6675"
SPLITS = {"best_val": ("validation", BLUE, "o", "-"), "best_test": ("test", ORANGE, "s", "--")}
"""Name, colour, marker and dashes of an accuracy at the best epoch, by its column."""


def get_look(rank: int) -> dict[str, Any]:
    """Return colour, marker and dashes of the line of a setting; settings after the first eight are grey.

    Args:
        rank: 0 for the best setting.
    """
    if rank >= len(COLOURS):
        return {"color": GREY, "marker": "o", "ls": "-"}
    return {"color": COLOURS[rank], "marker": MARKERS[rank], "ls": DASHES[rank % len(DASHES)]}


@functools.cache
def get_cell_colours(has_numbers: bool) -> Colormap:
    """Return the colours of a heat map; light ones for cells with black numbers."""
    colours = matplotlib.colormaps["Blues"]
    return ListedColormap(colours(np.linspace(0, 0.5, 256))) if has_numbers else colours


def is_learning_rate(name: str) -> bool:
    """Return whether a key is a learning rate, which charts show on a logarithmic axis."""
    return name.endswith("lr")


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
