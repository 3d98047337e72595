"""Chart of a sweep, chosen by the settings that vary."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from viewfinder.evaluation.comparison import Comparison
from viewfinder.evaluation.settings import CLASS, is_number
from viewfinder.reporting.charts.heat_map import build_grid, draw_heat_map
from viewfinder.reporting.charts.lines import draw_line
from viewfinder.reporting.charts.points import draw_points
from viewfinder.reporting.style import name_repeats

MIN_FILLED = 0.5
"""Share of filled cells in a heat map; values drawn at random rarely form a grid."""


def draw_sweep(comparison: Comparison, summary: pd.DataFrame) -> Figure:
    """Draw a line for one numeric key, a heat map for two keys, or else a point for each combination of values.

    Args:
        comparison: at least one finished run.
        summary: its settings, from `summarise_settings`.
    """
    rows = comparison.unique_rows()
    varied = [comparison.varied[index] for index in rows.index]
    keys = sorted({key for values in varied for key in values})
    columns = [[values[key] for values in varied] for key in keys if all(key in values for values in varied)]
    if len(keys) == len(columns) == 1 and all(map(is_number, columns[0])):
        return draw_line(np.array(columns[0], float), rows, keys[0])
    if len(keys) == len(columns) == 2:
        (row_values, column_values), (row_key, column_key) = columns, keys
        grid = build_grid(row_values, column_values, list(rows["best_val"]), (row_key, column_key))
        if grid.notna().to_numpy().mean() >= MIN_FILLED:
            return draw_heat_map(grid, row_key.removesuffix(CLASS), column_key.removesuffix(CLASS), name_repeats(rows))
    return draw_points(summary, rows)
