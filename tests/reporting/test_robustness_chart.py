"""Chart and terminal tables of robustness."""

import io

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from viewfinder.data.corruptions import CORRUPTIONS
from viewfinder.evaluation.robustness import Measured, list_levels, summarise, tabulate_accuracies
from viewfinder.reporting.charts.robustness import draw_robustness
from viewfinder.reporting.robustness import format_count, print_robustness
from viewfinder.reporting.style import COLOURS

NAMES = ["scale", "jpeg"]


def measure(settings: int, seeds: int = 2) -> Measured:
    """Made-up accuracies of settings, each with some seeds."""
    rng, count = np.random.default_rng(0), len(list_levels(NAMES))
    rows = [(f"run{s}_{k}", f"setting={s}", k) for s in range(settings) for k in range(seeds)]
    runs = pd.DataFrame(rows, columns=["run", "setting", "seed"])
    counts = [rng.integers(100, 900, count) for _ in rows]
    table = tabulate_accuracies(runs, counts, [1000] * len(rows), NAMES)
    costs = pd.DataFrame(
        {"parameters": 26_610.0, "multiply_adds": 3.7e6, "epoch_seconds": np.nan}, runs["setting"].unique()
    )
    return Measured(table, summarise(table), costs, None, ["a note"])  # type: ignore[arg-type]


def test_each_panel_has_a_line_a_setting_through_the_means_with_the_original_in_its_place() -> None:
    measured = measure(3)
    figure = draw_robustness(measured.summary.levels, measured.summary.settings)
    panel = figure.axes[0]
    assert panel.get_title() == "scale"
    assert [label.get_text() for label in panel.get_xticklabels()] == ["0.5", "0.7", "0.85", "1", "1.2", "1.5", "2"]
    lines = panel.get_lines()[::-1]  # the best setting is drawn last, over the others
    for line, setting in zip(lines, measured.summary.settings["setting"], strict=True):
        rows = measured.table[measured.table["setting"] == setting]
        for position, level in enumerate(CORRUPTIONS["scale"].levels):
            at = rows["corruption"] == "original" if level is None else rows["strength"] == level
            chosen = rows[at & rows["corruption"].isin(["original", "scale"])]
            assert line.get_ydata()[position] == pytest.approx(100 * chosen["accuracy"].mean())
    assert len({(line.get_marker(), line.get_linestyle()) for line in lines}) == 3
    assert figure.axes[1].get_xticklabels()[0].get_text() == "none"


def test_settings_after_the_eighth_are_grey_and_counted() -> None:
    measured = measure(11, seeds=1)
    figure = draw_robustness(measured.summary.levels, measured.summary.settings)
    legend = next(axes.get_legend() for axes in figure.axes if axes.get_legend())
    assert [text.get_text() for text in legend.get_texts()][-1] == f"{11 - len(COLOURS)} others"
    assert len(legend.get_texts()) == len(COLOURS) + 1


@pytest.mark.parametrize("width", [80, 200])
def test_tables_fit_the_terminal_and_name_every_setting(width: int) -> None:
    file = io.StringIO()
    print_robustness(Console(file=file, width=width, highlight=False), measure(3))
    lines = file.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    for setting in range(3):
        assert sum(f"setting={setting}" in line for line in lines) >= 1
    rows = {line[:16].strip(): line[16:].split() for line in lines}
    assert rows["parameters"] == ["26.6k"] * 3
    assert rows["multiply-adds"] == ["3.7M"] * 3
    assert "a note" in lines


def test_counts_have_three_digits() -> None:
    values = (7, 950, 26_610, 999_950, 1_734_000, 4.1e9, float("nan"))
    assert [format_count(value) for value in values] == ["7", "950", "26.6k", "1M", "1.73M", "4.1G", ""]
