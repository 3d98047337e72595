"""Comparison of runs."""

import shutil
from pathlib import Path

from conftest import Type

from viewfinder.evaluation.comparison import read_runs
from viewfinder.runs.find import find_runs
from viewfinder.runs.folder import RunFolder


def test_a_table_of_no_runs_has_the_columns_of_one_with_some(seeds: Path) -> None:
    assert list(read_runs([]).table.columns) == list(read_runs(find_runs(seeds)).table.columns)


def test_runs_that_differ_in_precision_or_code_are_said_to(seeds: Path, tmp_path: Path, viewfinder: Type) -> None:
    for name in ("0.01_0", "0.01_1", "0.01_2"):
        shutil.copytree(seeds / name, tmp_path / name)
    assert "different" not in viewfinder("compare", tmp_path).out
    RunFolder(tmp_path / "0.01_1").update_run(precision="bf16-mixed", code={"viewfinder": "another"})
    said = viewfinder("compare", tmp_path).out
    assert "different precisions (2 in 32-true, 1 in bf16-mixed)" in said
    assert "Made with different code of viewfinder." in said


def change_data(run: RunFolder, **facts: object) -> None:
    run.write_data(run.read_data() | facts)


def test_runs_on_other_images_are_no_other_seeds(seeds: Path, tmp_path: Path, viewfinder: Type) -> None:
    for name in ("0.01_0", "0.01_1", "0.01_2"):
        shutil.copytree(seeds / name, tmp_path / name)
    assert "different images" not in viewfinder("compare", tmp_path).out
    last = RunFolder(tmp_path / "0.01_2")
    change_data(last, fingerprint=last.read_data()["fingerprint"] | {"train": "another"})
    compared = read_runs(find_runs(tmp_path))
    assert sorted(compared.table.groupby("setting").size()) == [1, 2]
    assert all(setting.startswith("images=") for setting in compared.table["setting"])
    said = viewfinder("compare", tmp_path).out
    assert "Trained on images with different pixels, with equal settings of the data (2 on images=" in said
    assert [line.split()[1] for line in said.splitlines() if line.startswith("images=")].count("2") == 1


def test_fingerprints_that_cannot_be_compared_part_no_runs(seeds: Path, tmp_path: Path) -> None:
    """Streamed images have fingerprints of another kind, and earlier versions or damaged files may have none."""
    for name in ("0.01_0", "0.01_1", "0.01_2"):
        shutil.copytree(seeds / name, tmp_path / name)
    change_data(RunFolder(tmp_path / "0.01_0"), storage="stream", fingerprint={"train": "sizes"})
    RunFolder(tmp_path / "0.01_1").data.write_text("{")
    compared = read_runs(find_runs(tmp_path))
    assert len(set(compared.table["setting"])) == 1
    assert (list(compared.notes), compared.skipped) == ([], [])
