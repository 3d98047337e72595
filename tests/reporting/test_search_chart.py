"""Chart of a search."""

import numpy as np
import pandas as pd

from viewfinder.reporting.charts.search import Axis, draw_search


def test_the_chart_of_a_search_shows_the_best_so_far_and_each_numeric_parameter() -> None:
    table = pd.DataFrame({
        "trial": [3, 0, 1, 2], "status": ["complete", "complete", "pruned", "complete"],
        "accuracy": [0.8, 0.5, 0.9, 0.4], "optimizer.lr": [0.1, 0.01, 0.001, 0.02],
    })  # fmt: skip
    trials, rates = draw_search(table, {"optimizer.lr": Axis(1e-3, 1e-1, "log")}).axes
    (line,) = trials.get_lines()
    np.testing.assert_allclose(line.get_xydata(), [[0, 0.5], [2, 0.5], [3, 0.8]])
    assert rates.get_xscale() == "log"
    pruned, complete = (np.asarray(points.get_offsets()) for points in rates.collections)
    np.testing.assert_allclose(pruned, [[0.001, 0.9]])
    np.testing.assert_allclose(complete, [[0.01, 0.5], [0.02, 0.4], [0.1, 0.8]])
