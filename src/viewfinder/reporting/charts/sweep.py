"""The chart that suits what was swept."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from viewfinder.evaluation.comparison import Comparison
from viewfinder.evaluation.settings import CLASS, is_number
from viewfinder.reporting.charts.heat_map import draw_heat_map, grid_of
from viewfinder.reporting.charts.lines import draw_line
from viewfinder.reporting.charts.points import draw_points

FILLED = 0.5
"""Of a heat map's cells: values that were drawn at random, and hardly ever meet, are no grid."""


def draw_sweep(compared: Comparison, summary: pd.DataFrame) -> Figure:
    """One number: a line; two settings: a heat map; else a point for each setting.

    Args:
        compared: at least one finished run.
        summary: its settings, as `summarise_settings` gives them.
    """
    rows = compared.unique_rows()
    swept = [compared.varied[index] for index in rows.index]
    keys = sorted({key for each in swept for key in each})
    columns = [[each[key] for each in swept] for key in keys if all(key in each for each in swept)]
    if len(keys) == len(columns) == 1 and all(map(is_number, columns[0])):
        return draw_line(np.array(columns[0], float), rows, keys[0])
    if len(keys) == len(columns) == 2:
        (down, across), (down_key, across_key) = columns, keys
        grid = grid_of(down, across, list(rows["best_val"]), (down_key, across_key))
        if grid.notna().to_numpy().mean() >= FILLED:
            return draw_heat_map(grid, down_key.removesuffix(CLASS), across_key.removesuffix(CLASS))
    return draw_points(summary, rows)
