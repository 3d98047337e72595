"""Validation accuracy against two settings."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from viewfinder.evaluation.settings import format_value, is_number
from viewfinder.reporting.style import SOFT, shorten_label

WRITTEN = 15
"""Up to so many rows and columns each cell holds its number."""


def grid_of(down: Sequence[Any], across: Sequence[Any], scores: Sequence[float], keys: tuple[str, str]) -> pd.DataFrame:
    """Mean score for each pair of values, NaN where there is none; rows and columns are format_value and in order.

    Args:
        down: (runs,) values of the setting that goes down.
        across: of the other.
        scores: of the same runs.
        keys: of the settings, down and across.
    """
    names = [[format_value(value, key) for value in values] for values, key in zip((down, across), keys, strict=True)]
    table = pd.DataFrame({"down": names[0], "across": names[1], "score": scores})
    grid = table.pivot_table(index="down", columns="across", values="score", aggfunc="mean")
    return grid.reindex(index=in_order(down, keys[0]), columns=in_order(across, keys[1]))


def in_order(values: Sequence[Any], key: str) -> list[str]:
    """Each value once, as it is format_value: numbers ascending, then the others by letters."""

    def place(value: Any) -> tuple[bool, float, str]:
        return not is_number(value), float(value) if is_number(value) else 0.0, format_value(value, key)

    return list(dict.fromkeys(format_value(value, key) for value in sorted(values, key=place)))


def draw_heat_map(grid: pd.DataFrame, down: str, across: str) -> Figure:
    """A cell for each pair of values, blank where no run is; a frame is around the best.

    Args:
        grid: shares, as `grid_of` gives them.
        down: name of the setting that goes down.
        across: of the other.
    """
    percent = 100 * grid.to_numpy(float)
    rows, columns = percent.shape
    rows_named, columns_named = (
        [shorten_label(str(name), 24) for name in names] for names in (grid.index, grid.columns)
    )
    width, height = max(5.5, min(3 + 0.85 * columns, 14)), max(3.2, min(1.8 + 0.55 * rows, 12))
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    lowest, highest = np.nanmin(percent), np.nanmax(percent)
    # A little below the lowest, whose cell would else be as white as one without a run.
    floor = lowest - 0.2 * max(highest - lowest, 1.0)
    image = axes.imshow(np.ma.masked_invalid(percent), cmap="Blues", vmin=floor, vmax=highest, aspect="auto")
    tilted = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"} if max(map(len, columns_named)) > 7 else {}
    axes.set_xticks(range(columns), columns_named, parse_math=False, **tilted)
    axes.set_yticks(range(rows), rows_named, parse_math=False)
    axes.set_xlabel(shorten_label(across, 60), parse_math=False)
    axes.set_ylabel(shorten_label(down, 60), parse_math=False)
    axes.spines[:].set_visible(False)
    axes.set_xticks(np.arange(columns + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(rows + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="white", lw=2)
    axes.tick_params(which="both", length=0)
    figure.colorbar(image, label="validation accuracy, %")
    if max(rows, columns) <= WRITTEN:
        for row, column in zip(*np.nonzero(~np.isnan(percent)), strict=True):
            value = percent[row, column]
            colour = "white" if value > (floor + highest) / 2 else "#1d2430"
            axes.text(column, row, f"{value:.2f}", ha="center", va="center", color=colour, fontsize=9)
    row, column = np.unravel_index(np.nanargmax(percent), percent.shape)
    axes.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, fill=False, ec="#d9822b", lw=3, zorder=5, clip_on=False))
    axes.set_title("mean over the seeds; the best is framed", fontsize=9, color=SOFT, loc="right")
    return figure
