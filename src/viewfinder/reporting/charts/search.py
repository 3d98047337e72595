"""Chart of a search: accuracy by trial and by parameter."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from viewfinder.reporting.style import BLUE, GREY, ORANGE, shorten_label, style_axes

MARGIN = 0.04
"""Share of an axis beyond the bounds."""


class Axis(NamedTuple):
    """Bounds and scale (linear or log) of a numeric parameter."""

    low: float
    high: float
    scale: str


def draw_search(trials: pd.DataFrame, parameters: Mapping[str, Axis], max_columns: int = 3) -> Figure:
    """Draw the best accuracy so far by trial, and the accuracy by each numeric parameter.

    Args:
        trials: a row for each trial: trial, status, accuracy and a column for each parameter; trials without an
            accuracy are left out.
        parameters: axes of the numeric parameters.
        max_columns: panels side by side.
    """
    shown = trials.sort_values("trial").dropna(subset=["accuracy"])
    complete, others = shown.query("status == 'complete'"), shown.query("status != 'complete'")
    count = 1 + len(parameters)
    columns = min(count, max_columns)
    rows = -(-count // columns)
    figure = Figure(figsize=(4.2 * columns, 3.4 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, sharey=True).flat
    for axes, name in zip(grid, ("trial", *parameters), strict=False):
        axes.scatter(others[name], others["accuracy"], s=22, facecolors="none", edgecolors=GREY, label="incomplete")
        axes.scatter(complete[name], complete["accuracy"], s=22, color=BLUE, label="complete")
        axes.set_xlabel(shorten_label(name, 40), parse_math=False)
        style_axes(axes)
    first = grid[0]
    so_far = np.maximum.accumulate(np.asarray(complete["accuracy"], float))
    first.step(complete["trial"], so_far, where="post", color=ORANGE, label="best so far")
    first.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    for axes, axis in zip(grid[1:count], parameters.values(), strict=True):
        axes.set_xscale(axis.scale)
        if axis.scale == "linear":
            margin = MARGIN * (axis.high - axis.low)
            axes.set_xlim(axis.low - margin, axis.high + margin)
        else:
            factor = (axis.high / axis.low) ** MARGIN
            axes.set_xlim(axis.low / factor, axis.high * factor)
            axes.xaxis.set_major_locator(LogLocator(subs=(1.0,) if axis.high / axis.low > 30 else (1.0, 2.0, 5.0)))
            axes.xaxis.set_major_formatter("{x:g}")
            axes.xaxis.set_minor_formatter(NullFormatter())
    figure.legend(
        *first.get_legend_handles_labels(), loc="outside upper left", ncols=3, frameon=False, fontsize="small"
    )
    for start in range(0, count, columns):
        grid[start].set_ylabel("validation accuracy")
    for axes in grid[count:]:
        axes.set_axis_off()
    return figure
