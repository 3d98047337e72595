"""Accuracy of each setting with its spread, the best setting first."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from viewfinder.reporting.style import CHART_WIDTH, SOFT, SPLITS, name_repeats, shorten_label, style_axes

MAX_SETTINGS = 30
ROW_HEIGHT = 0.5
"""Inches of a setting: its name, and below it both accuracies."""


def draw_points(summary: pd.DataFrame, rows: pd.DataFrame) -> Figure:
    """Draw mean and standard deviation of each setting, and a faint point for each run.

    Args:
        summary: a row for each setting, the best first, from `summarise_settings`.
        rows: a row for each setting and seed: setting, best_val, best_test, as fractions (0 to 1).
    """
    shown = summary.head(MAX_SETTINGS)
    figure = Figure(figsize=(CHART_WIDTH, 1.7 + ROW_HEIGHT * len(shown)), layout="constrained")
    axes = figure.subplots()
    positions = np.arange(len(shown))
    runs = rows.merge(shown[["setting"]].assign(position=positions), on="setting")
    for (column, (label, colour, marker, _)), offset in zip(SPLITS.items(), (0.05, 0.27), strict=True):
        axes.plot(
            100 * runs[column], runs["position"] + offset, marker, color=colour, ms=4, alpha=0.35, mew=0
        )  # fmt: skip
        deviation = 100 * shown[f"{column}_std"].fillna(0.0)
        axes.errorbar(
            100 * shown[f"{column}_mean"], positions + offset, xerr=deviation, fmt=marker, color=colour, ms=6, lw=1.4,
            label=label,
        )  # fmt: skip
    names = [shorten_label(name, 48) for name in shown["setting"]]
    axes.set_yticks(positions - 0.25, names, parse_math=False, ha="left", va="center")
    axes.set_ylim(len(shown) - 0.5, -0.5)
    axes.set(xlabel=f"accuracy at the best epoch, %:\nmean and standard deviation over {name_repeats(rows)}")
    if len(summary) > MAX_SETTINGS:
        axes.set_title(f"the best {MAX_SETTINGS} of {len(summary)} settings", fontsize=10, color=SOFT, loc="left")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper right", ncols=2, frameon=False)
    style_axes(axes)
    axes.tick_params(axis="y", length=0, pad=-4)  # names stand above the points, not beside them
    axes.grid(visible=False, axis="y")
    axes.set_yticks(positions[1:] - 0.5, minor=True)
    axes.grid(alpha=0.25, axis="y", which="minor")
    axes.tick_params(axis="y", which="minor", length=0)
    axes.spines["left"].set_visible(False)
    return figure
