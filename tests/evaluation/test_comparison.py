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
