"""Accuracy of settings of any kind, the best first."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from viewfinder.reporting.style import SOFT, SPLITS, shorten_label, style_axes

MOST = 30
"""Settings that are drawn."""


def draw_points(summary: pd.DataFrame, rows: pd.DataFrame) -> Figure:
    """Mean and standard deviation of each setting, and a faint point a run.

    Args:
        summary: a row a setting, the best first, as `summarise_settings` gives it.
        rows: a row for each setting and seed: setting, best_val, best_test, as shares.
    """
    shown = summary.head(MOST)
    figure = Figure(figsize=(9, 1.6 + 0.36 * len(shown)), layout="constrained")
    axes = figure.subplots()
    places = np.arange(len(shown))
    single = rows.merge(shown[["setting"]].assign(place=places), on="setting")
    for (column, (label, colour, marker)), off in zip(SPLITS.items(), (-0.13, 0.13), strict=True):
        axes.plot(
            100 * single[column], single["place"] + off, marker, color=colour, ms=4, alpha=0.35, mew=0
        )  # fmt: skip
        deviation = 100 * shown[f"{column}_std"].fillna(0.0)
        axes.errorbar(
            100 * shown[f"{column}_mean"], places + off, xerr=deviation, fmt=marker, color=colour, ms=6, lw=1.4,
            label=label,
        )  # fmt: skip
    axes.set_yticks(places, [shorten_label(name, 48) for name in shown["setting"]], parse_math=False)
    axes.set_ylim(len(shown) - 0.5, -0.5)
    axes.set(xlabel="accuracy at the best epoch, %: mean and standard deviation over the seeds")
    if len(summary) > MOST:
        axes.set_title(f"the {MOST} best of {len(summary)} settings", fontsize=10, color=SOFT, loc="left")
    axes.legend(frameon=False)
    style_axes(axes)
    return figure
