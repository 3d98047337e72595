"""Chart of accuracy against the cost of training, with the Pareto frontier."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from viewfinder.evaluation.frontier import SPLIT_NAMES, Frontier
from viewfinder.reporting.style import BLUE, CHART_WIDTH, GREY, SOFT, shorten_label, style_axes
from viewfinder.reporting.tables import format_count

PANELS = {"seconds": "seconds of training", "multiply_adds": "multiply-adds of training"}
"""Label of each cost."""
MAX_NAMED = 12
"""Settings with a name in the legend; the table has all of them."""


def draw_frontier(frontier: Frontier, is_narrow: bool = False) -> Figure:
    """Draw a point for each setting, with its standard deviations, in a panel for each cost that is known.

    Points on the frontier are diamonds, dark, and joined by a line. A point's number is that of its name below.

    Args:
        frontier: settings and their costs.
        is_narrow: place the panels below each other, for a phone.
    """
    settings = frontier.settings
    shown = [cost for cost in PANELS if bool(settings[f"{cost}_mean"].notna().any())] or ["seconds"]
    names = [f"{number}  {shorten_label(str(name), 40)}" for number, name in enumerate(settings["setting"], 1)]
    named = names[:MAX_NAMED]
    rows, columns = (len(shown), 1) if is_narrow else (1, len(shown))
    width, legend_columns = (CHART_WIDTH, 1) if is_narrow else (1 + 4.4 * columns, 2)
    height = 4.4 * rows + 0.2 * -(-len(named) // legend_columns)
    figure = Figure(figsize=(width, height), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, sharey=True).flat
    for axes, cost in zip(grid, shown, strict=True):
        _draw_panel(axes, settings, cost)
        axes.set_xlabel(PANELS[cost])
        if is_narrow or cost == shown[0]:
            axes.set_ylabel(f"{SPLIT_NAMES[frontier.split]} accuracy, %")
    handles = [Line2D([], [], ls="") for _ in named]
    legend = figure.legend(
        handles, named, loc="outside lower center", ncols=legend_columns, frameon=False, handlelength=0
    )
    for text in legend.get_texts():
        text.set_parse_math(False)
    return figure


def _draw_panel(axes: Axes, settings: pd.DataFrame, cost: str) -> None:
    x, y = settings[f"{cost}_mean"].to_numpy(float), 100 * settings["accuracy_mean"].to_numpy(float)
    best, known = settings[f"on_{cost}_frontier"].to_numpy(bool), ~np.isnan(x)
    widths, heights = (settings[f"{name}_std"].fillna(0.0).to_numpy(float) for name in (cost, "accuracy"))
    for mask, colour, marker in ((known & ~best, GREY, "o"), (best, BLUE, "D")):
        axes.errorbar(
            x[mask], y[mask], 100 * heights[mask], widths[mask], fmt=marker, color=colour, ms=5, lw=1.2, capsize=2
        )
    order = np.argsort(x[best])
    axes.plot(x[best][order], y[best][order], color=BLUE, lw=1, ls="--", zorder=1)
    for position in np.flatnonzero(known):
        # Nothing lies above and left of the frontier.
        side, colour = (-1, BLUE) if best[position] else (1, SOFT)
        axes.annotate(
            str(position + 1), (x[position], y[position]), (5 * side, -5 * side), textcoords="offset points",
            ha="right" if side < 0 else "left", va="bottom" if side < 0 else "top", color=colour, fontsize=9,
        )  # fmt: skip
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 3.0)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: format_count(value)))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.margins(x=0.12, y=0.12)
    style_axes(axes)
