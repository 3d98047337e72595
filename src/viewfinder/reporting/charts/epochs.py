"""Accuracy or loss by epoch of several runs in one chart."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from viewfinder.reporting.style import shorten_label, style_axes

COLOURS = (
    "#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b", "#e377c2", "#1d2430", "#bcbd22", "#17becf",
)  # fmt: skip
MARKERS, STYLES = "osDv^", ("-", "--")
"""Markers and line styles, which tell the first ten settings apart without colour."""
OTHERS = "#c3cad4"
CURVES = {
    "val/accuracy": "validation accuracy, %", "val/loss": "validation loss", "train/loss": "training loss",
}  # fmt: skip
"""Label of the vertical axis, by column of metrics.csv."""


def draw_epochs(runs: Mapping[str, Sequence[pd.DataFrame]], column: str = "val/accuracy") -> Figure:
    """Draw a line for each run, coloured by setting; settings after the first ten are grey.

    Args:
        runs: rows of metrics.csv of each run, by setting, the best setting first.
        column: a key of CURVES.
    """
    factor = 100 if column == "val/accuracy" else 1
    figure = Figure(figsize=(9, max(4.2, 1.2 + 0.26 * min(len(runs), len(COLOURS) + 1))), layout="constrained")
    axes = figure.subplots()
    handles, names = [], []
    for rank, (setting, tables) in enumerate(runs.items()):
        is_grey = rank >= len(COLOURS)
        colour = OTHERS if is_grey else COLOURS[rank]
        look: dict[str, Any] = {
            "marker": "o" if is_grey else MARKERS[rank % len(MARKERS)],
            "ls": "-" if is_grey else STYLES[rank // len(MARKERS)],
        }
        for table in tables:
            axes.plot(
                table["epoch"], factor * table[column], color=colour, lw=1.5, ms=4, alpha=0.85,
                zorder=1 if is_grey else 3 - rank / 100, **look,
            )  # fmt: skip
        if rank <= len(COLOURS):
            handles.append(Line2D([], [], color=colour, lw=2, ms=5, **look))
            names.append(f"{len(runs) - len(COLOURS)} others" if is_grey else shorten_label(setting, 40))
    axes.set(xlabel="epoch", ylabel=CURVES[column])
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    style_axes(axes)
    legend = axes.legend(handles, names, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5), title="best first")
    for text in legend.get_texts():
        text.set_parse_math(False)
    return figure
