"""Chart of accuracy under corruptions."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from viewfinder.data.corruptions import Corruption
from viewfinder.evaluation.robustness import ORIGINAL, list_corruptions
from viewfinder.reporting.style import COLOURS, get_look, shorten_label, style_axes

PANEL_WIDTH, PANEL_HEIGHT = 3.5, 2.75
"""Size of a panel in inches."""


def draw_robustness(levels: pd.DataFrame, settings: pd.DataFrame, columns: int = 3) -> Figure:
    """Draw a panel for each corruption, with a line for each setting and a band of one standard deviation.

    Settings after the first eight are grey.

    Args:
        levels, settings: of `viewfinder.evaluation.robustness.Robustness`.
        columns: panels side by side.
    """
    corruptions = list_corruptions(levels)
    rows = -(-(len(corruptions) + 1) // columns)  # the last panel holds the legend
    figure = Figure(figsize=(PANEL_WIDTH * columns, PANEL_HEIGHT * rows), layout="constrained")
    figure.get_layout_engine().set(h_pad=0.1)  # type: ignore[union-attr]
    grid = figure.subplots(rows, columns, squeeze=False, sharey=True).flat
    handles = []
    for axes, (name, corruption) in zip(grid, corruptions.items(), strict=False):
        handles = [
            _draw_line(axes, rank, *_read_line(levels[levels["setting"] == setting], name, corruption))
            for rank, setting in reversed([*enumerate(settings["setting"])])
        ][::-1]
        positions = range(len(corruption.levels))
        axes.set_xticks(positions, [format_level(level, corruption) for level in corruption.levels])
        axes.set(title=corruption.title, xlabel=corruption.unit)
        axes.set_ylim(bottom=0)
        style_axes(axes)
    for start in range(0, len(corruptions), columns):
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
    place = "upper center" if columns == 1 else "center"
    legend = grid[len(corruptions)].legend(handles[:shown], names, frameon=False, loc=place, title=title, fontsize=9)
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
    positions, look = np.arange(len(means)), get_look(rank)
    axes.fill_between(
        positions, means - deviations, means + deviations, where=~np.isnan(deviations), color=look["color"],
        alpha=0.15, lw=0,
    )  # fmt: skip
    (line,) = axes.plot(positions, means, ms=4, lw=1.6, **look)
    return line


def format_level(level: float | None, corruption: Corruption) -> str:
    return corruption.original if level is None else f"{level:g}"
