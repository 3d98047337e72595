"""Chart and page of a search."""

import numpy as np
import pandas as pd
from conftest import Page
from optuna.distributions import FloatDistribution

from viewfinder.reporting.charts.search import Axis, draw_search
from viewfinder.reporting.pages.search import render_search
from viewfinder.sweeps.search.space import Parameter
from viewfinder.sweeps.search.summary import describe_axes


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


def test_learning_rates_have_a_logarithmic_axis_whatever_their_range() -> None:
    bounds = {
        "optimizer.lr": (1e-3, 2e-3), "scheduler.max_lr": (1e-3, 2e-3), "model.dropout": (0.1, 0.2),
        "phases.head.lr": (0.0, 0.1),
    }  # fmt: skip
    axes = describe_axes({key: Parameter(key, FloatDistribution(*ends)) for key, ends in bounds.items()})
    assert [axis.scale for axis in axes.values()] == ["log", "log", "linear", "linear"]


def test_the_page_of_a_search_has_its_trials_as_text_and_its_chart_for_wide_and_narrow_screens() -> None:
    table = pd.DataFrame({
        "trial": [2, 0, 1], "optimizer.lr": [0.02, 0.1, 0.3], "model": ["<b>", "mlp", None],
        "status": ["complete", "pruned", "failed"], "epochs": [5, 2, 0], "accuracy": [0.875, 0.5, None],
        "reason": ["", "", "no <memory>"],
    })  # fmt: skip
    axes = {"optimizer.lr": Axis(0.01, 1.0, "log")}
    page = Page(render_search(table, axes, "<first>", "viewfinder search a=<1>", "viewfinder train b=<2>"))
    text = " ".join(" ".join(page.text).split())
    for part in (
        "<first>",
        "a=<1>",
        "b=<2>",
        "2 0.02 <b> complete 5 87.50",
        "failed: no <memory>",
        "1 of them complete",
    ):
        assert part in text
    assert [address[:19] for address in page.fetched] == ["data:image/svg+xml;"] * 2
    assert len(set(page.fetched)) == 2
    none = Page(render_search(table[1:], axes, "first", "", None))
    assert "No trial is complete." in "".join(none.text)
