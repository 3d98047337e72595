"""Accuracy or loss by epoch of several runs in one chart."""

from collections.abc import Mapping, Sequence

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from viewfinder.reporting.style import CHART_WIDTH, COLOURS, get_look, shorten_label, style_axes

CURVES = {
    "val/accuracy": "validation accuracy, %", "val/loss": "validation loss", "train/loss": "training loss",
}  # fmt: skip
"""Label of the vertical axis, by column of metrics.csv."""
AXES_HEIGHT, LINE_HEIGHT = 3.4, 0.22
"""Height of the axes with their labels, and of a line of the legend, in inches."""


def draw_epochs(runs: Mapping[str, Sequence[pd.DataFrame]], column: str = "val/accuracy") -> Figure:
    """Draw a line for each run, with the look of its setting; settings after the first eight are grey.

    Args:
        runs: rows of metrics.csv of each run, by setting, the best setting first.
        column: a key of CURVES.
    """
    factor = 100 if column == "val/accuracy" else 1
    named = min(len(runs), len(COLOURS) + 1)
    figure = Figure(figsize=(CHART_WIDTH, AXES_HEIGHT + LINE_HEIGHT * (named + 1)), layout="constrained")
    axes = figure.subplots()
    handles, names = [], []
    for rank, (setting, tables) in enumerate(runs.items()):
        is_grey, look = rank >= len(COLOURS), get_look(rank)
        for table in tables:
            order = 1 if is_grey else 3 - rank / 100
            axes.plot(table["epoch"], factor * table[column], lw=1.5, ms=4, alpha=0.85, zorder=order, **look)
        if rank < named:
            handles.append(Line2D([], [], lw=2, ms=5, **look))
            names.append(f"{len(runs) - len(COLOURS)} others" if is_grey else shorten_label(setting, 48))
    axes.set(xlabel="epoch", ylabel=CURVES[column])
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    style_axes(axes)
    legend = axes.legend(
        handles, names, frameon=False, loc="upper left", bbox_to_anchor=(0, -0.18), title="best first",
        alignment="left", handlelength=3,
    )  # fmt: skip
    for text in legend.get_texts():
        text.set_parse_math(False)
    return figure
