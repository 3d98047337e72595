"""Loss and accuracy by epoch, for training and validation."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from viewfinder.reporting.style import BLUE, GREY, ORANGE, shorten_label, style_axes

NAMES = ("loss", "accuracy")
LOOKS: dict[str, dict[str, Any]] = {
    "train": {"color": GREY, "ls": "--", "marker": "s"}, "val": {"color": BLUE, "ls": "-", "marker": "o"},
}  # fmt: skip
PLOT_WIDTH, LETTER_WIDTH = 290, 5.6
"""Width of a chart, and average width of a letter in the name of a phase, in points."""


def draw_curves(
    metrics: pd.DataFrame, best_epoch: int, phases: Mapping[str, int], names: Sequence[str] = NAMES
) -> Figure:
    """Draw charts side by side, with a line at the best epoch and at the start of each phase.

    Names of phases are written above the charts, upright if they would not fit otherwise.

    Args:
        metrics: rows of metrics.csv.
        best_epoch: epoch of the best weights, from 1.
        phases: first epoch of each phase, from 1.
        names: charts to draw, of NAMES.
    """
    labels, starts = [shorten_label(name) for name in phases], [max(first - 0.5, 1) for first in phases.values()]
    is_upright = not _has_room(labels, starts, len(metrics))
    height = 3.8 + is_upright * LETTER_WIDTH * max(map(len, labels), default=0) / 72
    figure = Figure(figsize=(5 * len(names), height), layout="constrained")
    for axes, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        for split, label in (("train", "training"), ("val", "validation")):
            axes.plot(metrics["epoch"], metrics[f"{split}/{name}"], label=label, ms=3, **LOOKS[split])
        axes.axvline(best_epoch, color=ORANGE, lw=1.2, ls="-.", label=f"best, epoch {best_epoch}")
        for first in [*phases.values()][1:]:
            axes.axvline(first - 0.5, color="black", lw=1, ls=":")
        axes.set(title=name.capitalize(), xlabel="epoch", ylabel=name)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        style_axes(axes)
        axes.legend(frameon=False)
        if phases:
            above = axes.secondary_xaxis("top")
            text: dict[str, Any] = (
                {"rotation": 90, "ha": "center", "size": 8} if is_upright else {"ha": "left", "size": 9}
            )
            above.set_xticks(starts, labels, color="black", parse_math=False, **text)
            above.tick_params(length=0)
            above.spines["top"].set_visible(False)
    return figure


def _has_room(names: Sequence[str], starts: Sequence[float], epochs: int) -> bool:
    """Return whether each name fits between the start and the end of its phase."""
    ends, scale = [*starts, epochs][1:], PLOT_WIDTH / max(epochs - 1, 1)
    return all(
        LETTER_WIDTH * (len(name) + 1) <= scale * (end - start)
        for name, start, end in zip(names, starts, ends, strict=True)
    )
