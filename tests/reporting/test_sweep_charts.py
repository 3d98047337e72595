"""Charts of a sweep."""

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.patches import Rectangle

from viewfinder.evaluation.comparison import Comparison, summarise_settings
from viewfinder.evaluation.settings import describe_settings, find_differences
from viewfinder.reporting.charts.epochs import draw_epochs
from viewfinder.reporting.charts.heat_map import build_grid
from viewfinder.reporting.charts.lines import average_by_value
from viewfinder.reporting.charts.sweep import draw_sweep
from viewfinder.reporting.style import COLOURS, GREY


def compared(settings: list[dict[str, Any]], seeds: int = 2) -> tuple[Comparison, pd.DataFrame]:
    """Runs of these settings with made-up scores."""
    configs = [{"model._target_": "a.Net", **each} for each in settings for _ in range(seeds)]
    scores = np.random.default_rng(0).random((len(configs), 5))
    table = pd.DataFrame(scores, columns=["best_val", "best_test", "best_f1", "last_val", "last_test"])
    table.insert(0, "setting", describe_settings(configs))
    table["seed"], table["best_epoch"] = [*range(seeds)] * len(settings), 1
    return (found := Comparison(table, find_differences(configs), [])), summarise_settings(found.table)


def test_scores_by_value_are_numpys_mean_and_deviation_in_numeric_order() -> None:
    values, scores = (
        np.array([10.0, 2.0, 10.0, 2.0]),
        pd.DataFrame({"best_val": [1.0, 2.0, 5.0, 8.0]}, index=[7, 3, 1, 0]),
    )
    found = average_by_value(values, scores)
    assert list(found["value"]) == [2, 10]
    assert list(found["best_val_mean"]) == [5, 3]
    np.testing.assert_allclose(found["best_val_std"], [np.std([2, 8], ddof=1), np.std([1, 5], ddof=1)])


@pytest.mark.parametrize(
    ("key", "values", "scale"),
    [
        ("optimizer.lr", [1e-3, 2e-3, 3e-3], "log"),
        ("optimizer.weight_decay", [1e-4, 1e-3, 1e-2], "log"),
        ("data.batch_size", [16, 32, 64], "linear"),
        ("optimizer.lr", [0.0, 1e-4, 1.0], "linear"),
        ("data.limit", [-1, 1, 1000], "linear"),
    ],
)
def test_a_swept_number_is_drawn_along_an_axis_that_suits_it(key: str, values: list[float], scale: str) -> None:
    (axes,) = draw_sweep(*compared([{key: value} for value in values])).axes
    assert axes.get_xscale() == scale
    assert axes.get_xlabel() == key
    assert {text.get_text() for text in axes.get_legend().get_texts()} == {"validation", "test"}


def test_two_swept_settings_are_a_heat_map_in_numeric_order_with_blanks_and_the_best_framed() -> None:
    pairs = [(batch, rate) for batch in (128, 16) for rate in (1e-2, 1e-4, 1e-3)][:-1]
    found, summary = compared([{"data.batch_size": batch, "optimizer.lr": rate} for batch, rate in pairs])
    axes = draw_sweep(found, summary).axes[0]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["16", "128"]
    assert [text.get_text() for text in axes.get_xticklabels()] == ["0.0001", "0.001", "0.01"]
    assert (axes.get_ylabel(), axes.get_xlabel()) == ("data.batch_size", "optimizer.lr")
    means = 100 * found.table.groupby("setting", sort=False)["best_val"].mean().to_numpy()
    order = {(128, 1e-2): (2, 1), (128, 1e-4): (0, 1), (128, 1e-3): (1, 1), (16, 1e-2): (2, 0), (16, 1e-4): (0, 0)}
    expected = {order[pair]: f"{mean:.2f}" for pair, mean in zip(pairs, means, strict=True)}
    assert {text.get_position(): text.get_text() for text in axes.texts} == expected
    (frame,) = [patch for patch in axes.patches if isinstance(patch, Rectangle)]
    assert (frame.get_x() + 0.5, frame.get_y() + 0.5) == order[pairs[int(means.argmax())]]


def test_a_heat_maps_cells_are_means_over_seeds() -> None:
    grid = build_grid([[8], None, [8]], [10, 9, 10], [0.2, 0.5, 0.4], ("model.widths", "data.limit"))
    assert (list(grid.index), list(grid.columns)) == (["[8]", "null"], ["9", "10"])
    np.testing.assert_allclose(grid.to_numpy(), [[np.nan, 0.3], [0.5, np.nan]])


AT_RANDOM = [{"optimizer.lr": 0.1 + i / 100, "optimizer.weight_decay": i / 7} for i in range(8)]


@pytest.mark.parametrize(
    "settings",
    [
        [{"model.widths": widths} for widths in ([8], None, [16, 8])],
        [{"model._target_": "a.$A_b$"}, *({"model._target_": "a.B", "model.width": width} for width in (1, 2))],
        [{"a": i, "b": j, "c": k} for i in (1, 2) for j in (1, 2) for k in range(10)],
        AT_RANDOM,
        [{"optimizer.lr": rate} for rate in (math.nan, 10**400)],
        [{}],
    ],
)
def test_settings_of_any_other_kind_are_points_the_best_first(settings: list[dict[str, Any]]) -> None:
    found, summary = compared(settings)
    (axes,) = draw_sweep(found, summary).axes
    labels = [text.get_text() for text in axes.get_yticklabels()]
    assert labels == [name if len(name) <= 48 else f"{name[:47]}…" for name in summary["setting"][:30]]
    assert axes.yaxis_inverted()
    assert axes.get_title(loc="left") == ("the best 30 of 40 settings" if len(summary) == 40 else "")


def test_the_eight_best_settings_have_colours_by_epoch_and_the_others_are_grey() -> None:
    rows = pd.DataFrame({"epoch": [1, 2], "val/accuracy": [0.25, 0.5]})
    axes = draw_epochs({f"_{place}": [rows, rows] for place in range(13)}).axes[0]
    assert [line.get_color() for line in axes.lines] == [colour for colour in (*COLOURS, *[GREY] * 5) for _ in range(2)]
    looks = {(line.get_marker(), line.get_linestyle()) for line in axes.lines[:16]}
    assert len(looks) == len(COLOURS)  # told apart without colour, too
    assert list(axes.lines[0].get_ydata()) == [25, 50]
    said = [text.get_text() for text in axes.get_legend().get_texts()]
    assert said == [*(f"_{place}" for place in range(8)), "5 others"]
