"""Charts of accuracy under corruptions, and of the corrupted images."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from viewfinder.data.corruptions import Corruption
from viewfinder.evaluation.robustness import ORIGINAL, list_corruptions, list_levels
from viewfinder.reporting.charts.epochs import OTHERS
from viewfinder.reporting.style import shorten_label, style_axes

COLUMNS = 3
COLOURS = ("#1f5fbf", "#d9822b", "#2a7d46", "#8e3b8a", "#b03a2e", "#4a4f57", "#0f8a9d", "#8a6d1f")
MARKERS, DASHES = ("o", "s", "^", "D", "v", "P", "X", "*"), ("-", "--", "-.", ":")
"""Lines differ in marker and dashes, too, for print without colour."""


def draw_robustness(levels: pd.DataFrame, settings: pd.DataFrame) -> Figure:
    """Draw a panel for each corruption, with a line for each setting and a band of one standard deviation.

    Settings after the first eight are grey.

    Args:
        levels, settings: of `viewfinder.evaluation.robustness.Robustness`.
    """
    corruptions = list_corruptions(levels)
    rows = -(-(len(corruptions) + 1) // COLUMNS)  # the last panel holds the legend
    figure = Figure(figsize=(10.5, 2.75 * rows), layout="constrained")
    grid = figure.subplots(rows, COLUMNS, squeeze=False, sharey=True).flat
    handles = []
    for axes, (name, corruption) in zip(grid, corruptions.items(), strict=False):
        handles = [
            _draw_line(axes, rank, *_read_line(levels[levels["setting"] == setting], name, corruption))
            for rank, setting in reversed([*enumerate(settings["setting"])])
        ][::-1]
        positions = range(len(corruption.levels))
        axes.set_xticks(positions, [_format_level(level, corruption) for level in corruption.levels])
        axes.set(title=corruption.title, xlabel=corruption.unit)
        axes.set_ylim(bottom=0)
        style_axes(axes)
    for start in range(0, len(corruptions), COLUMNS):
        grid[start].set_ylabel("test accuracy, %")
    for axes in grid[len(corruptions) :]:
        axes.set_axis_off()
    shown = min(len(handles), len(COLOURS) + 1)
    names = [shorten_label(setting, 34) for setting in settings["setting"][:shown]]
    if len(handles) > len(COLOURS):
        names[-1] = f"{len(handles) - len(COLOURS)} others"
    has_bands = bool(settings["accuracy_std"].notna().any())
    repeats = "seeds and folds" if "folds" in settings else "seeds"
    title = f"mean ± standard deviation over {repeats}" if has_bands else None
    legend = grid[len(corruptions)].legend(handles[:shown], names, frameon=False, loc="center", title=title, fontsize=9)
    for text in legend.get_texts():
        text.set_parse_math(False)
    return figure


def _read_line(levels: Any, name: str, corruption: Corruption) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation in percent at each level of a corruption."""
    original = levels[levels["corruption"] == ORIGINAL].iloc[0]
    rows = levels[levels["corruption"] == name].set_index("strength")
    values = [original if level is None else rows.loc[level] for level in corruption.levels]
    means, deviations = (
        np.array([100 * value[f"accuracy_{statistic}"] for value in values], float) for statistic in ("mean", "std")
    )
    return means, deviations


def _draw_line(axes: Axes, rank: int, means: np.ndarray, deviations: np.ndarray) -> object:
    positions, is_grey = np.arange(len(means)), rank >= len(COLOURS)
    colour = OTHERS if is_grey else COLOURS[rank]
    axes.fill_between(
        positions, means - deviations, means + deviations, where=~np.isnan(deviations), color=colour, alpha=0.15, lw=0
    )
    marker, dashes = MARKERS[rank % len(MARKERS)], "-" if is_grey else DASHES[rank % len(DASHES)]
    (line,) = axes.plot(positions, means, color=colour, ls=dashes, marker=marker, ms=4, lw=1.6)
    return line


def _format_level(level: float | None, corruption: Corruption) -> str:
    return corruption.original if level is None else f"{level:g}"


def draw_examples(images: Tensor, names: list[str]) -> Figure:
    """Draw an image at each level, a row for each corruption.

    Args:
        images: (levels, C, H, W) uint8, in the order of `list_levels`.
        names: names of the corruptions.
    """
    by_level = dict(zip(list_levels(names), images.permute(0, 2, 3, 1).numpy(), strict=True))
    by_level |= {(name, None): by_level[ORIGINAL, None] for name in names}
    corruptions = list_corruptions(pd.DataFrame({"corruption": names}))
    columns = max(len(corruption.levels) for corruption in corruptions.values())
    figure = Figure(figsize=(1.15 * columns + 2.2, 1.4 * len(names)), layout="constrained")
    grid = figure.subplots(len(names), columns, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for row, (name, corruption) in zip(grid, corruptions.items(), strict=True):
        row[0].text(-0.15, 0.5, corruption.title, transform=row[0].transAxes, ha="right", va="center", fontsize=9)
        for axes, level in zip(row, corruption.levels, strict=False):
            axes.imshow(by_level[name, level].squeeze(), cmap="gray", vmin=0, vmax=255)
            axes.set_title(_format_level(level, corruption), fontsize=8)
    return figure
