"""Line chart of accuracy by one numeric setting, such as the learning rate."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from viewfinder.reporting.style import CHART_WIDTH, SPLITS, is_learning_rate, name_repeats, shorten_label, style_axes

LOG_DECADES = 1.5
"""Decades from which positive values are drawn on a logarithmic axis; learning rates always are."""
MIN_LABEL_GAP = 0.07
"""Gap between labelled values, as a share of the axis; closer labels would touch."""


def average_by_value(values: np.ndarray, scores: pd.DataFrame) -> pd.DataFrame:
    """Average the scores of runs with the same value, in ascending order of values.

    Args:
        values: (runs,) numbers.
        scores: (runs, columns).

    Returns:
        Columns value, <column>_mean and <column>_std, the sample standard deviation.
    """
    table = pd.DataFrame({"value": values, **{str(name): scores[name].to_numpy() for name in scores}})
    columns = {f"{name}_{statistic}": (str(name), statistic) for name in scores for statistic in ("mean", "std")}
    return table.groupby("value", sort=True).agg(**columns).reset_index()


def draw_line(values: np.ndarray, scores: pd.DataFrame, name: str) -> Figure:
    """Draw the mean over seeds and folds with a band of one standard deviation, and a point for each run.

    Args:
        values: (runs,) numbers.
        scores: best_val and best_test of the same runs, as fractions (0 to 1).
        name: name of the setting.
    """
    percent = pd.DataFrame({name: 100 * scores[name] for name in SPLITS})
    means = average_by_value(values, percent)
    figure = Figure(figsize=(CHART_WIDTH, 4), layout="constrained")
    axes = figure.subplots()
    x = means["value"].to_numpy(float)
    for column, (label, colour, marker, dashes) in SPLITS.items():
        mean, deviation = (means[f"{column}_{statistic}"].to_numpy() for statistic in ("mean", "std"))
        axes.fill_between(
            x, mean - deviation, mean + deviation, where=~np.isnan(deviation), color=colour, alpha=0.13, lw=0
        )
        axes.plot(values, percent[column], marker, color=colour, ms=4, alpha=0.4, mew=0)
        axes.plot(x, mean, dashes, color=colour, marker=marker, ms=6, label=label)
    if is_logarithmic(x, name):
        axes.set_xscale("log")
    positions = np.log(x) if is_logarithmic(x, name) else x
    if np.diff(positions).min(initial=np.inf) >= MIN_LABEL_GAP * np.ptp(positions):
        axes.set_xticks(x, [f"{value:g}" for value in x])
        axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel(shorten_label(name, 48), parse_math=False)
    axes.set(ylabel="accuracy at the best epoch, %")
    axes.legend(frameon=False, title=f"mean ± standard deviation over {name_repeats(scores)}")
    style_axes(axes)
    return figure


def is_logarithmic(values: np.ndarray, name: str) -> bool:
    """Return whether the values of a setting are drawn on a logarithmic axis."""
    if values.min() <= 0 or values.min() == values.max():
        return False
    return is_learning_rate(name) or bool(np.log10(values.max()) - np.log10(values.min()) >= LOG_DECADES)
