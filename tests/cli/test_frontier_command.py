"""`viewfinder frontier` shows accuracy against the cost of training."""

import io
from pathlib import Path

import pandas as pd
import pytest
from conftest import IMAGE_URLS, Page, Type
from PIL import Image
from rich.console import Console

from viewfinder.evaluation.frontier import Frontier, read_frontier
from viewfinder.reporting.charts.frontier import draw_frontier
from viewfinder.reporting.frontier import print_frontier
from viewfinder.runs.find import find_runs
from viewfinder.runs.folder import RunFolder


def test_seeds_share_a_row_in_the_table_the_file_and_the_page(seeds: Path, tmp_path: Path, viewfinder: Type) -> None:
    files = [tmp_path / name for name in ("f.csv", "f.png", "f.html")]
    answer = viewfinder("frontier", seeds, "--csv", files[0], "--chart", files[1], "--page", files[2])
    assert (answer.code, answer.err) == (0, "")
    table = pd.read_csv(files[0])
    runs = {name: [RunFolder(seeds / f"{name}_{seed}") for seed in range(3)] for name in ("0.01", "0.0001")}
    for name, folders in runs.items():
        (row,) = table[table["setting"] == f"lr={float(name):g}"].to_dict("records")
        values = pd.Series([run.read_scores()["best"]["val"]["accuracy"] for run in folders])
        seconds = pd.Series([sum(run.read_run()["epoch_seconds"]) for run in folders])
        assert row["seeds"] == 3
        found = [row[name] for name in ("accuracy_mean", "accuracy_std", "seconds_mean", "seconds_std")]
        assert found == pytest.approx([values.mean(), values.std(), seconds.mean(), seconds.std()])
        assert row["multiply_adds_mean"] == 3 * folders[0].read_run()["network"]["multiply_adds"] * 30 * 2
    assert table["on_multiply_adds_frontier"].sum() >= 1
    page = Page(files[2].read_text(encoding="utf-8"))
    assert [address.startswith(IMAGE_URLS) for address in page.fetched] == [True, True]  # for a phone, and wider
    assert "lr=0.01" in " ".join(page.text)
    with Image.open(files[1]) as chart:
        assert chart.width > 1000


def test_the_table_fits_a_terminal_and_runs_without_a_cost_are_named(run_copy: RunFolder, viewfinder: Type) -> None:
    run_copy.update_run(epoch_seconds=[])
    result = read_frontier(find_runs(run_copy.path), "test")
    file = io.StringIO()
    print_frontier(Console(file=file, width=80, highlight=False), result)
    lines = file.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    text = " ".join(file.getvalue().split())
    assert "has no seconds: run.json has no epoch_seconds" in text
    accuracy = run_copy.read_scores()["best"]["test"]["accuracy"]
    assert f"{100 * accuracy:.2f}" in lines[1]
    draw_frontier(result)


def test_points_of_the_frontier_are_joined_and_named() -> None:
    columns = ["setting", "seeds", "accuracy_mean", "seconds_mean", "multiply_adds_mean"]
    rows = [("a", 1, 0.9, 100.0, 1e9), ("b", 1, 0.8, 10.0, 2e9), ("c", 1, 0.7, 50.0, float("nan"))]
    settings = pd.DataFrame(rows, columns=columns).assign(
        accuracy_std=float("nan"), seconds_std=float("nan"), multiply_adds_std=float("nan"),
        on_seconds_frontier=[True, True, False], on_multiply_adds_frontier=[True, False, False],
    )  # fmt: skip
    figure = draw_frontier(Frontier("val", settings, []))
    time, arithmetic = figure.axes
    assert [axes.get_xscale() for axes in figure.axes] == ["log", "log"]
    (joined,) = [line for line in time.get_lines() if line.get_linestyle() == "--"]
    assert [*zip(*joined.get_data(), strict=True)] == [(10, 80), (100, 90)]
    assert [text.get_text() for text in time.texts] == ["1", "2", "3"]
    assert [text.get_text() for text in arithmetic.texts] == ["1", "2"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["1  a", "2  b", "3  c"]
