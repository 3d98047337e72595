"""Accuracy of each setting with its spread, the best setting first."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from viewfinder.reporting.style import SOFT, SPLITS, name_repeats, shorten_label, style_axes

MAX_SETTINGS = 30


def draw_points(summary: pd.DataFrame, rows: pd.DataFrame) -> Figure:
    """Draw mean and standard deviation of each setting, and a faint point for each run.

    Args:
        summary: a row for each setting, the best first, from `summarise_settings`.
        rows: a row for each setting and seed: setting, best_val, best_test, as fractions (0 to 1).
    """
    shown = summary.head(MAX_SETTINGS)
    figure = Figure(figsize=(9, 1.6 + 0.36 * len(shown)), layout="constrained")
    axes = figure.subplots()
    positions = np.arange(len(shown))
    runs = rows.merge(shown[["setting"]].assign(position=positions), on="setting")
    for (column, (label, colour, marker)), offset in zip(SPLITS.items(), (-0.13, 0.13), strict=True):
        axes.plot(
            100 * runs[column], runs["position"] + offset, marker, color=colour, ms=4, alpha=0.35, mew=0
        )  # fmt: skip
        deviation = 100 * shown[f"{column}_std"].fillna(0.0)
        axes.errorbar(
            100 * shown[f"{column}_mean"], positions + offset, xerr=deviation, fmt=marker, color=colour, ms=6, lw=1.4,
            label=label,
        )  # fmt: skip
    axes.set_yticks(positions, [shorten_label(name, 48) for name in shown["setting"]], parse_math=False)
    axes.set_ylim(len(shown) - 0.5, -0.5)
    axes.set(xlabel=f"accuracy at the best epoch, %: mean and standard deviation over {name_repeats(rows)}")
    if len(summary) > MAX_SETTINGS:
        axes.set_title(f"the best {MAX_SETTINGS} of {len(summary)} settings", fontsize=10, color=SOFT, loc="left")
    axes.legend(frameon=False)
    style_axes(axes)
    return figure
