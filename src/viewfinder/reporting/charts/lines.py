"""Accuracy against one setting that is a number, such as the learning rate."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from viewfinder.reporting.style import SPLITS, shorten_label, style_axes

LOGARITHMIC = 1.5
"""Decades from which on positive values are spread over a logarithmic axis."""
APART = 0.07
"""Of the axis's length: labels of values that stand closer would touch."""


def score_by_value(values: np.ndarray, scores: pd.DataFrame) -> pd.DataFrame:
    """A row a value, ascending: value, and <column>_mean and <column>_std of `scores`; the deviation is the sample's.

    Args:
        values: (runs,) numbers.
        scores: (runs, columns); its rows are the runs.
    """
    table = pd.DataFrame({"value": values, **{str(name): scores[name].to_numpy() for name in scores}})
    columns = {f"{name}_{how}": (str(name), how) for name in scores for how in ("mean", "std")}
    return table.groupby("value", sort=True).agg(**columns).reset_index()


def draw_line(values: np.ndarray, scores: pd.DataFrame, name: str) -> Figure:
    """Mean over the seeds, a band of a standard deviation to either side, and a point a run.

    Args:
        values: (runs,) numbers.
        scores: best_val and best_test of the same runs, as shares.
        name: of the setting.
    """
    percent = pd.DataFrame({name: 100 * scores[name] for name in SPLITS})
    means = score_by_value(values, percent)
    figure = Figure(figsize=(9, 4.6), layout="constrained")
    axes = figure.subplots()
    x = means["value"].to_numpy(float)
    for column, (label, colour, marker) in SPLITS.items():
        mean, deviation = (means[f"{column}_{how}"].to_numpy() for how in ("mean", "std"))
        axes.fill_between(
            x, mean - deviation, mean + deviation, where=~np.isnan(deviation), color=colour, alpha=0.13, lw=0
        )
        axes.plot(values, percent[column], marker, color=colour, ms=4, alpha=0.4, mew=0)
        axes.plot(x, mean, color=colour, marker=marker, ms=6, label=label)
    if is_logarithmic(x):
        axes.set_xscale("log")
    places = np.log(x) if is_logarithmic(x) else x
    if np.diff(places).min(initial=np.inf) >= APART * np.ptp(places):
        axes.set_xticks(x, [f"{value:g}" for value in x])
        axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel(shorten_label(name, 60), parse_math=False)
    axes.set(ylabel="accuracy at the best epoch, %")
    axes.legend(frameon=False, title="mean ± deviation over seeds")
    style_axes(axes)
    return figure


def is_logarithmic(values: np.ndarray) -> bool:
    return bool(values.min() > 0 and np.log10(values.max()) - np.log10(values.min()) >= LOGARITHMIC)
