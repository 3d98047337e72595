"""`viewfinder compare` prints the mean and standard deviation of runs over seeds."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import Page, Type, on_one_line
from scipy.stats import binomtest

from viewfinder.reporting.tables import print_comparison
from viewfinder.runs.folder import RunFolder


def scores_below(folder: Path) -> pd.DataFrame:
    """Read the learning rate, seed and accuracies of each run from the JSON files alone."""
    rows = []
    for path in sorted(folder.glob("*/scores.json")):
        best, last = (json.loads(path.read_text(encoding="utf-8"))[weights] for weights in ("best", "last"))
        rate, seed = path.parent.name.split("_")
        rows.append({
            "rate": float(rate), "seed": int(seed), "epoch": best["epoch"], "val": best["val"]["accuracy"],
            "test": best["test"]["accuracy"], "f1": best["test"]["f1"], "last": last["test"]["accuracy"],
        })  # fmt: skip
    return pd.DataFrame(rows)


def percent(mean: float, deviation: float) -> str:
    return f"{100 * mean:.2f} ±{100 * deviation:.2f}"


def cells(row: str, between: str) -> list[str]:
    return [cell.strip() for cell in row.strip("|").split(between) if cell.strip()]


@pytest.mark.parametrize(("words", "between"), [([], "  "), (["--markdown"], "|")], ids=["plain", "markdown"])
def test_compare_prints_the_mean_and_deviation_over_seeds_that_pandas_computes(
    seeds: Path, viewfinder: Type, words: list[str], between: str
) -> None:
    answer = viewfinder("compare", seeds, *words)
    assert (answer.code, answer.err) == (0, "")
    rows = {cells(line, between)[0]: cells(line, between)[1:] for line in answer.out.splitlines() if "±" in line}
    grouped = scores_below(seeds).groupby("rate")
    mean, deviation = grouped.mean(), grouped.std()
    assert (deviation[["val", "test"]] > 0).any().any()
    assert set(rows) == {"lr=0.01", "lr=0.0001"}
    for name, row in rows.items():
        rate = float(name.removeprefix("lr="))
        shown = [
            percent(mean.loc[rate, column], deviation.loc[rate, column]) for column in ("val", "test", "f1", "last")
        ]
        assert row == ["3", f"{mean.loc[rate, 'epoch']:.1f}".removesuffix(".0"), *shown]


def test_compare_puts_the_best_validation_accuracy_first(seeds: Path, viewfinder: Type) -> None:
    lines = [line for line in viewfinder("compare", seeds).out.splitlines() if "±" in line]
    means = scores_below(seeds).groupby("rate")["val"].mean().sort_values(ascending=False)
    assert [float(line.split()[0].removeprefix("lr=")) for line in lines] == list(means.index)


def test_compare_writes_one_row_per_run(seeds: Path, viewfinder: Type, tmp_path: Path) -> None:
    viewfinder("compare", seeds, "--csv", tmp_path / "runs.csv")
    rows, expected = pd.read_csv(tmp_path / "runs.csv"), scores_below(seeds)
    rows["rate"] = rows["setting"].str.removeprefix("lr=").astype(float)
    rows = rows.sort_values(["rate", "seed"], ignore_index=True)
    expected = expected.sort_values(["rate", "seed"], ignore_index=True)
    columns = {"rate": "rate", "seed": "seed", "best_epoch": "epoch", "best_val": "val", "best_test": "test"}
    columns |= {"best_f1": "f1", "last_test": "last"}
    for column, reference in columns.items():
        np.testing.assert_allclose(rows[column], expected[reference], rtol=1e-12)


def test_compare_names_skipped_runs_and_the_reason(seeds: Path, viewfinder: Type, tmp_path: Path) -> None:
    shutil.copytree(seeds, tmp_path / "runs")
    stopped = RunFolder.open(tmp_path / "runs" / "0.01_1")
    stopped.scores.unlink()
    stopped.update_run(status="failed", error="the flux ran dry")
    answer = viewfinder("compare", tmp_path / "runs")
    assert answer.code == 0
    (line,) = [text for text in answer.out.splitlines() if "left out" in text]
    assert str(stopped.path) in line
    assert "the flux ran dry" in line
    (row,) = [line for line in answer.out.splitlines() if line.startswith("lr=0.01 ")]
    assert row.split()[1] == "2"


def test_compare_numbers_settings_that_are_too_long_for_the_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "dumb")
    numbers = {
        f"{name}_{how}": 0.5 for name in ("best_val", "best_test", "best_f1", "last_test") for how in ("mean", "std")
    }
    long = "MLP accelerator=cpu limit_batches=3 max_epochs=2 limit=null"
    print_comparison(pd.DataFrame([{"setting": long, "seeds": 3, "best_epoch": 2.0, **numbers}]), markdown=False)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[1].startswith("1 ")
    assert lines[2] == f"1  {long}"


def test_compare_concludes_from_the_test_images_of_all_seeds(seeds: Path, viewfinder: Type, tmp_path: Path) -> None:
    page_file = tmp_path / "page.html"
    answer = viewfinder("compare", seeds, "--page", page_file)
    assert (answer.code, answer.err) == (0, "")
    (line,) = [line for line in answer.out.splitlines() if line.startswith("  test  ")]
    assert line.endswith("noise of seeds and of 15 images")
    means = scores_below(seeds).groupby("rate")[["val", "test"]].mean().sort_values("val", ascending=False)["test"]
    assert f"  {100 * abs(means.iloc[0] - means.iloc[1]):.2f} " in line
    assert "\nVerdict: " in answer.out
    (difference,) = [line.split() for line in answer.out.splitlines() if line.startswith("optimizer.lr ")]
    assert [float(value) for value in difference[1:]] == list(means.index)
    page = Page(page_file.read_text(encoding="utf-8"))
    said = on_one_line(" ".join(page.text))
    assert on_one_line(line) in said
    assert "Verdict: " in said
    assert "optimizer.lr" in said
    assert len(page.fetched) == 3  # accuracy, validation loss, training loss
    assert all(source.startswith("data:image/svg+xml;base64,") for source in page.fetched)


def test_compare_applies_mcnemars_test_to_two_runs(seeds: Path, viewfinder: Type) -> None:
    tables = {path.parent.name: pd.read_csv(path) for path in seeds.glob("*/predictions.csv")}
    is_right = {name: (table["true"] == table["predicted"]).to_numpy() for name, table in tables.items()}
    pairs = [(f"0.01_{i}", f"0.0001_{j}") for i in range(3) for j in range(3)]
    first, second = max(pairs, key=lambda pair: (is_right[pair[0]] != is_right[pair[1]]).sum())
    answer = viewfinder("compare", seeds / first, seeds / second)
    one, other = is_right[first], is_right[second]
    differing = [int((one & ~other).sum()), int((other & ~one).sum())]
    p_value = binomtest(differing[0], sum(differing)).pvalue
    (line,) = [line for line in answer.out.splitlines() if line.startswith("  test  ")]
    assert "McNemar's test of 15 images" in line
    assert f"p = {p_value:.2g}, " in line or f"p = {p_value:.2f}, " in line
    assert f"  {100 * abs(differing[0] - differing[1]) / 15:.2f} " in line


def test_compare_applies_mcnemars_test_to_two_seeds_of_one_setting(seeds: Path, viewfinder: Type) -> None:
    out = viewfinder("compare", seeds / "0.01_0", seeds / "0.01_1").out
    vals = scores_below(seeds).query("rate == 0.01 and seed < 2").set_index("seed")["val"]
    best, other = (0, 1) if vals[0] >= vals[1] else (1, 0)
    assert f"Is seed {best} better than seed {other}? Their settings are equal." in out
    assert "McNemar's test of 15 images" in out
