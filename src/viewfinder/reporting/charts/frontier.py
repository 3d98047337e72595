"""Chart of accuracy against the cost of training, with the Pareto frontier."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from viewfinder.evaluation.frontier import SPLIT_NAMES, Frontier
from viewfinder.reporting.style import BLUE, CHART_WIDTH, GREY, SOFT, shorten_label, style_axes
from viewfinder.reporting.tables import format_count

PANELS = {
    "seconds": "seconds of training",
    "multiply_adds": "multiply-adds of training",
}
"""Label of each cost."""
MAX_NAMED = 12
"""Settings up to which those that are not on the frontier are named, too."""


def draw_frontier(frontier: Frontier, is_narrow: bool = False) -> Figure:
    """Draw a point for each setting, with its standard deviations, in a panel for each cost that is known.

    Points on the frontier are dark, and joined by a line.

    Args:
        frontier: settings and their costs.
        is_narrow: place the panels below each other, for a phone.
    """
    settings = frontier.settings
    shown = [cost for cost in PANELS if bool(settings[f"{cost}_mean"].notna().any())] or ["seconds"]
    rows, columns = (len(shown), 1) if is_narrow else (1, len(shown))
    figure = Figure(figsize=(CHART_WIDTH if is_narrow else 1 + 4.8 * columns, 4.6 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, sharey=True).flat
    for axes, cost in zip(grid, shown, strict=True):
        _draw_panel(axes, settings.dropna(subset=[f"{cost}_mean"]), cost)
        axes.set_xlabel(PANELS[cost])
    spread = ", mean ± standard deviation" if bool(settings["accuracy_std"].notna().any()) else ""
    grid[0].set_ylabel(f"{SPLIT_NAMES[frontier.split]} accuracy at the best epoch, %{spread}")
    return figure


def _draw_panel(axes: Axes, settings: pd.DataFrame, cost: str) -> None:
    x, y = settings[f"{cost}_mean"].to_numpy(float), 100 * settings["accuracy_mean"].to_numpy(float)
    best = settings[f"on_{cost}_frontier"].to_numpy(bool)
    errors = [settings[f"{name}_std"].fillna(0.0).to_numpy(float) for name in (cost, "accuracy")]
    for mask, colour, marker in ((~best, GREY, "o"), (best, BLUE, "D")):
        axes.errorbar(
            x[mask], y[mask], 100 * errors[1][mask], errors[0][mask], fmt=marker, color=colour, ms=5, lw=1.2, capsize=2
        )
    order = np.argsort(x[best])
    axes.plot(x[best][order], y[best][order], color=BLUE, lw=1, ls="--", zorder=1)
    for name, is_best, left, bottom in zip(settings["setting"], best, x, y, strict=True):
        if is_best or len(settings) <= MAX_NAMED:
            # Nothing lies above and left of the frontier.
            side, colour = (-1, BLUE) if is_best else (1, SOFT)
            axes.annotate(
                shorten_label(str(name), 30), (left, bottom), (5 * side, -5 * side), textcoords="offset points",
                ha="right" if is_best else "left", va="bottom" if is_best else "top", color=colour, fontsize=7.5,
                parse_math=False,
            )  # fmt: skip
    axes.set_xscale("log")
    if len(x):
        low, high = np.log10(x.min()), np.log10(x.max())
        width = max(high - low, 1.0)
        axes.set_xlim(10 ** (low - 0.5 * width), 10 ** (high + 0.35 * width))  # room for the names
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 3.0)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: format_count(value)))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.margins(y=0.12)
    style_axes(axes)
