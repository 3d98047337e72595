"""Heat map of validation accuracy by two settings."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from viewfinder.evaluation.settings import format_value, is_number
from viewfinder.reporting.style import CHART_WIDTH, ORANGE, SOFT, get_cell_colours, shorten_label

MAX_NUMBERED = 15
"""Largest number of rows or columns for which cells show their accuracy."""


def build_grid(
    rows: Sequence[Any], columns: Sequence[Any], scores: Sequence[float], keys: tuple[str, str]
) -> pd.DataFrame:
    """Average scores for each pair of values; pairs without a run are NaN, and values are formatted and sorted.

    Args:
        rows: (runs,) values of the first setting.
        columns: (runs,) values of the second setting.
        scores: (runs,).
        keys: keys of the two settings.
    """
    names = [[format_value(value, key) for value in values] for values, key in zip((rows, columns), keys, strict=True)]
    table = pd.DataFrame({"row": names[0], "column": names[1], "score": scores})
    grid = table.pivot_table(index="row", columns="column", values="score", aggfunc="mean")
    return grid.reindex(index=sort_values(rows, keys[0]), columns=sort_values(columns, keys[1]))


def sort_values(values: Sequence[Any], key: str) -> list[str]:
    """Format each distinct value: numbers in ascending order, then other values in alphabetical order."""

    def rank(value: Any) -> tuple[bool, float, str]:
        return not is_number(value), float(value) if is_number(value) else 0.0, format_value(value, key)

    return list(dict.fromkeys(format_value(value, key) for value in sorted(values, key=rank)))


def draw_heat_map(grid: pd.DataFrame, row_name: str, column_name: str, repeats: str = "seeds") -> Figure:
    """Draw a cell for each pair of values, blank if there is no run, with a frame around the best.

    Args:
        grid: accuracies as fractions (0 to 1), from `build_grid`.
        row_name: name of the setting in the rows.
        column_name: name of the setting in the columns.
        repeats: runs that a cell averages.
    """
    percent = 100 * grid.to_numpy(float)
    rows, columns = percent.shape
    row_labels, column_labels = (
        [shorten_label(str(name), 24) for name in names] for names in (grid.index, grid.columns)
    )
    has_numbers = max(rows, columns) <= MAX_NUMBERED
    width, height = max(CHART_WIDTH, min(2.2 + 0.65 * columns, 14)), max(3.2, min(1.8 + 0.5 * rows, 12))
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    lowest, highest = np.nanmin(percent), np.nanmax(percent)
    # Below the lowest accuracy, whose cell would otherwise be as white as a blank one.
    floor = lowest - 0.2 * max(highest - lowest, 1.0)
    image = axes.imshow(
        np.ma.masked_invalid(percent), cmap=get_cell_colours(has_numbers), vmin=floor, vmax=highest, aspect="auto"
    )
    tilted = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"} if max(map(len, column_labels)) > 7 else {}
    axes.set_xticks(range(columns), column_labels, parse_math=False, **tilted)
    axes.set_yticks(range(rows), row_labels, parse_math=False)
    axes.set_xlabel(shorten_label(column_name, 60), parse_math=False)
    axes.set_ylabel(shorten_label(row_name, 60), parse_math=False)
    axes.spines[:].set_visible(False)
    axes.set_xticks(np.arange(columns + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(rows + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="white", lw=2)
    axes.tick_params(which="both", length=0)
    if not has_numbers:
        figure.colorbar(image, label="validation accuracy, %")
    else:
        for row, column in zip(*np.nonzero(~np.isnan(percent)), strict=True):
            axes.text(column, row, f"{percent[row, column]:.2f}", ha="center", va="center")
    row, column = np.unravel_index(np.nanargmax(percent), percent.shape)
    axes.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, fill=False, ec=ORANGE, lw=3, zorder=5, clip_on=False))
    axes.set_title(
        f"validation accuracy, %: mean over {repeats}; the best is framed", fontsize=9, color=SOFT, loc="right"
    )
    return figure
