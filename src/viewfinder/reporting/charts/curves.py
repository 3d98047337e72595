"""Loss and accuracy by epoch, training against validation."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from viewfinder.reporting.style import shorten_label

COLOURS = {"train": "#8a94a6", "val": "#1f5fbf"}
INK = "#1d2430"
ACROSS, LETTER = 290, 5.6
"""Points: of a chart's width, and about that of a letter of a phase's name."""


def draw_curves(metrics: pd.DataFrame, best_epoch: int, phases: Mapping[str, int]) -> Figure:
    """Two charts side by side from the rows of metrics.csv; a line marks the epoch of the best weights.

    Args:
        phases: the epoch with which each phase begins, from 1; a line marks where one follows another, and above the
            charts, where nothing else is drawn, stand their names, upright where they would not fit otherwise.
    """
    names, begins = [shorten_label(name) for name in phases], [max(first - 0.5, 1) for first in phases.values()]
    is_upright = not _fit(names, begins, len(metrics))
    height = 3.8 + is_upright * LETTER * max(map(len, names), default=0) / 72
    figure = Figure(figsize=(10, height), layout="constrained")
    for axes, name in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        for split, label in (("train", "training"), ("val", "validation")):
            axes.plot(metrics["epoch"], metrics[f"{split}/{name}"], color=COLOURS[split], label=label, marker="o", ms=3)
        axes.axvline(best_epoch, color="#d9822b", lw=1, ls="--", label=f"best, epoch {best_epoch}")
        for first in [*phases.values()][1:]:
            axes.axvline(first - 0.5, color=INK, lw=1, ls=":")
        axes.set(title=name.capitalize(), xlabel="epoch", ylabel=name)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False)
        if phases:
            above = axes.secondary_xaxis("top")
            how: dict[str, Any] = (
                {"rotation": 90, "ha": "center", "size": 8} if is_upright else {"ha": "left", "size": 9}
            )
            above.set_xticks(begins, names, color=INK, parse_math=False, **how)
            above.tick_params(length=0)
            above.spines["top"].set_visible(False)
    return figure


def _fit(names: Sequence[str], begins: Sequence[float], epochs: int) -> bool:
    """Whether there is room for each name from its phase's beginning to its end."""
    ends, scale = [*begins, epochs][1:], ACROSS / max(epochs - 1, 1)
    return all(
        LETTER * (len(name) + 1) <= scale * (end - begin) for name, begin, end in zip(names, begins, ends, strict=True)
    )
