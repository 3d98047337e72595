"""Loss and accuracy by epoch, training against validation."""

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

COLOURS = {"train": "#8a94a6", "val": "#1f5fbf"}


def draw_curves(metrics: pd.DataFrame, best_epoch: int) -> Figure:
    """Two charts side by side from the rows of metrics.csv; a line marks the epoch of the best weights."""
    figure = Figure(figsize=(10, 3.8), layout="constrained")
    for axes, name in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        for split, label in (("train", "training"), ("val", "validation")):
            axes.plot(metrics["epoch"], metrics[f"{split}/{name}"], color=COLOURS[split], label=label, marker="o", ms=3)
        axes.axvline(best_epoch, color="#d9822b", lw=1, ls="--", label=f"best, epoch {best_epoch}")
        axes.set(title=name.capitalize(), xlabel="epoch", ylabel=name)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False)
    return figure
