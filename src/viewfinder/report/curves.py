"""Loss and accuracy by epoch, training against validation."""

from collections.abc import Mapping

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from viewfinder.report.confusion import short

COLOURS = {"train": "#8a94a6", "val": "#1f5fbf"}


def draw_curves(metrics: pd.DataFrame, best_epoch: int, phases: Mapping[str, int]) -> Figure:
    """Two charts side by side from the rows of metrics.csv; a line marks the epoch of the best weights.

    Args:
        phases: the epoch with which each phase begins, from 1; a line marks where one follows another.
    """
    figure = Figure(figsize=(10, 3.8), layout="constrained")
    for axes, name in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        for split, label in (("train", "training"), ("val", "validation")):
            axes.plot(metrics["epoch"], metrics[f"{split}/{name}"], color=COLOURS[split], label=label, marker="o", ms=3)
        axes.axvline(best_epoch, color="#d9822b", lw=1, ls="--", label=f"best, epoch {best_epoch}")
        for name_of, first in phases.items():
            if first > 1:
                axes.axvline(first - 0.5, color="#1d2430", lw=1, ls=":")
            axes.annotate(
                short(name_of), (max(first - 0.5, 1), 1), (3, -3), ("data", "axes fraction"), "offset points", va="top",
                fontsize=9, color="#1d2430", parse_math=False,
            )  # fmt: skip
        axes.set(title=name.capitalize(), xlabel="epoch", ylabel=name)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False)
    return figure
