"""Runs of one cross-validation share a row of a comparison, and predict each image once."""

import shlex
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import Page, Type, train_into

from viewfinder.evaluation.comparison import read_runs, summarise_settings
from viewfinder.evaluation.paired import compute_difference
from viewfinder.reporting.pages.sweep import write_sweep_report
from viewfinder.runs.find import find_runs
from viewfinder.runs.folder import RunFolder


@pytest.fixture(scope="module")
def folds(tiny: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the runs of three folds, for each of two learning rates; read only."""
    folder = tmp_path_factory.mktemp("folds")
    for rate in ("0.01", "0.0001"):
        for fold in range(3):
            settings = [f"optimizer.lr={rate}", "data.folds=3", f"data.fold={fold}", "trainer.max_epochs=1"]
            train_into(folder / rate / str(fold), *tiny, "model=mlp", "model.widths=[8]", *settings)
    return folder


def test_folds_share_a_row_with_mean_and_spread(folds: Path, viewfinder: Type) -> None:
    compared = read_runs(find_runs(folds))
    summary = summarise_settings(compared.table).set_index("setting")
    assert (list(summary["folds"]), list(summary["seeds"])) == ([3, 3], [1, 1])
    for rate in ("0.01", "0.0001"):
        scores = [RunFolder(folds / rate / str(fold)).read_scores()["best"]["test"]["accuracy"] for fold in range(3)]
        row = summary.loc[f"lr={rate}"]
        assert row["best_test_mean"] == pytest.approx(np.mean(scores))
        assert row["best_test_std"] == pytest.approx(np.std(scores, ddof=1))
    answer = viewfinder("compare", folds)
    assert compared.notes == []
    assert answer.out.split("\n")[0].split()[:3] == ["setting", "seeds", "folds"]
    assert "over seeds and folds" in " ".join(answer.out.split())
    assert "Mean over 3 shared folds" in answer.out
    assert "allows for the training images that folds share" in answer.out
    words = shlex.split(answer.out.splitlines()[-1])
    assert words[:3] == ["python", "train.py", "-m"]
    assert [word for word in words if word.startswith("data.fold")] == ["data.folds=3", "data.fold=0,1,2"]


def test_the_interval_over_folds_is_wider_by_the_images_they_share() -> None:
    first, second = np.random.default_rng(0).random((2, 5))
    plain, corrected = compute_difference(first, second), compute_difference(first, second, folds=5)
    widths = [each.high - each.low for each in (plain, corrected)]
    assert widths[1] / widths[0] == pytest.approx(np.sqrt((1 / 5 + 1 / 4) / (1 / 5)))
    assert corrected.seeds_needed is None


def test_a_run_says_its_fold_and_what_is_not_read(folds: Path) -> None:
    run = RunFolder(folds / "0.01" / "1")
    sentence = "1 of 3: 12 of 36 images are the test split; the source's own test split (15 images) is not read"
    log = " ".join(run.log.read_text(encoding="utf-8").split())
    assert sentence in log.replace(" fold ", " ") or sentence in " ".join(
        line.partition("  ")[2].strip() for line in run.log.read_text(encoding="utf-8").splitlines()
    )
    assert sentence in " ".join(Page(run.report.read_text(encoding="utf-8")).text)


def test_each_image_is_predicted_once_with_its_fold(folds: Path, viewfinder: Type, tmp_path: Path) -> None:
    answer = viewfinder("compare", folds / "0.01", "--out-of-fold", tmp_path / "all.csv")
    assert (answer.code, answer.err) == (0, "")
    table = pd.read_csv(tmp_path / "all.csv", dtype=str)
    assert (len(table), table["picture"].nunique()) == (36, 36)
    for fold in range(3):
        own = pd.read_csv(folds / "0.01" / str(fold) / "predictions.csv", dtype=str)
        ours = table[table["fold"] == str(fold)].drop(columns="fold").reset_index(drop=True)
        pd.testing.assert_frame_equal(ours, own)
    accuracy = 100 * (table["true"] == table["predicted"]).mean()
    assert f"Out of fold: accuracy {accuracy:.2f} (95% " in answer.out
    assert "over all 36 images of 3 folds" in answer.out


def test_names_that_are_not_utf8_and_probabilities_are_written_as_they_are(
    folds: Path, viewfinder: Type, tmp_path: Path
) -> None:
    runs = [RunFolder(shutil.copytree(folds / "0.01" / str(fold), tmp_path / str(fold))) for fold in range(3)]
    header, first, *others = runs[0].predictions.read_bytes().splitlines(keepends=True)
    runs[0].predictions.write_bytes(header + b"\xff" + first + b"".join(others))
    viewfinder("compare", *(run.path for run in runs), "--out-of-fold", tmp_path / "all.csv")
    name, rest = first.split(b",", 1)
    assert b"\xff" + name + b",0," + rest in (tmp_path / "all.csv").read_bytes()


def refuse(viewfinder: Type, *runs: Path) -> str:
    answer = viewfinder("compare", *runs, "--out-of-fold", runs[0].parent / "none.csv")
    assert answer.code == 2
    assert not (runs[0].parent / "none.csv").exists()
    return " ".join(answer.err.split())


def test_missing_repeated_and_mixed_folds_are_refused(folds: Path, viewfinder: Type, tmp_path: Path) -> None:
    runs = [shutil.copytree(folds / "0.01" / str(fold), tmp_path / str(fold)) for fold in range(3)]
    again = shutil.copytree(runs[0], tmp_path / "again")
    assert "fold 2 has no finished run: only all 3 folds together predict all 36 images" in refuse(
        viewfinder, *runs[:2]
    )
    said = refuse(viewfinder, runs[0], again)
    assert "fold 0 is in 2 runs" in said
    assert "folds 1, 2 have no finished run: only all 3 folds" in said
    assert "have 2 settings or seeds, so images would repeat" in refuse(viewfinder, *runs, folds / "0.0001")
    one = RunFolder(runs[1])
    one.predictions.write_bytes(RunFolder(runs[0]).predictions.read_bytes())
    assert "has 12 images in several folds" in refuse(viewfinder, *runs)
    lines = RunFolder(folds / "0.01" / "1").predictions.read_text(encoding="utf-8").splitlines(keepends=True)
    one.predictions.write_text("".join(lines[:-2]), encoding="utf-8")
    assert "have predictions of 34 of 36 images" in refuse(viewfinder, *runs)
    facts = one.read_data()
    one.write_data(facts | {"cross_validation": facts["cross_validation"] | {"names": "others"}})
    assert "divided different images, or the same ones into different folds" in refuse(viewfinder, *runs)


def test_runs_without_folds_are_refused(seeds: Path, viewfinder: Type) -> None:
    assert "have no folds" in refuse(viewfinder, seeds / "0.01_0")


def test_the_report_of_a_sweep_has_a_column_of_folds(folds: Path, tmp_path: Path) -> None:
    runs = [RunFolder(shutil.copytree(folds / "0.01" / str(fold), tmp_path / str(fold))) for fold in range(3)]
    text = " ".join(" ".join(Page(write_sweep_report(tmp_path, runs).read_text(encoding="utf-8")).text).split())
    assert "1 seed, 3 folds" in text
    assert "seeds folds epoch" in text
