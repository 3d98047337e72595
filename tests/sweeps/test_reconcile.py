"""Reconciliation of a command line with an existing sweep."""

import shutil
from pathlib import Path

import pytest
from conftest import paint, raises_user_error
from sweep_command import Sweep, plan_line, score_times, sweep_command, sweep_jobs

from viewfinder.config.moved import MOVED
from viewfinder.runs.find import find_runs
from viewfinder.sweeps.changes import describe_new_values
from viewfinder.sweeps.folder import SweepFolder, SweepJob
from viewfinder.sweeps.plan import Plan
from viewfinder.sweeps.reconcile import match_jobs, reconcile_jobs


@pytest.fixture
def sweep(tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Sweep:
    return sweep_command(tiny, tmp_path, monkeypatch, capfd)


def match_folders(plan: Plan, jobs: list[SweepJob]) -> list[str | None]:
    return [job and job.folder for job in match_jobs(plan.jobs, jobs)]


def test_jobs_are_matched_by_all_keys_that_can_change_a_score() -> None:
    jobs = sweep_jobs("optimizer.lr=1e-3,3e-3", "seed=1,2")
    moved = ["output_dir=elsewhere", "trainer.progress_bar=false", "trainer.checkpoint_every=5", "data.root=there"]
    again = plan_line("seed=2,3", "optimizer.lr=3e-3,1e-3", *moved)
    assert match_folders(again, jobs) == ["3", "1", None, None]
    assert describe_new_values(again.jobs, jobs) == []


def test_swept_keys_tell_jobs_apart_even_if_they_cannot_change_a_score() -> None:
    jobs = sweep_jobs("trainer.keep_freed_memory=true,false")
    assert match_folders(plan_line("trainer.keep_freed_memory=false,true"), jobs) == ["1", "0"]


def test_jobs_that_differ_in_data_root_are_matched_by_it_and_a_moved_folder_matches_too() -> None:
    jobs = sweep_jobs("data.root=here,there")
    assert match_folders(plan_line("data.root=there"), jobs) == ["1"]
    assert match_folders(plan_line("data.root=there,here"), jobs) == ["1", "0"]
    moved = sweep_jobs("data.root=here", "seed=1,2")
    assert match_folders(plan_line("data.root=elsewhere", "seed=1,2"), moved) == ["0", "1"]


def test_a_new_fixed_value_is_reported_but_more_or_fewer_swept_values_are_not() -> None:
    jobs = sweep_jobs("optimizer.lr=1e-3,3e-3", "seed=1,2")
    for line in ("optimizer.lr=1e-3,1e-2 seed=1,2,3", "optimizer.lr=3e-3 seed=1", "optimizer.lr=1e-2 seed=7"):
        assert describe_new_values(plan_line(*line.split()).jobs, jobs) == []
    one = plan_line("optimizer.lr=1e-3", "seed=1,2", "data.batch_size=64", "trainer.max_epochs=3").jobs
    assert describe_new_values(one, jobs) == ["data.batch_size was 32, is 64", "trainer.max_epochs was 10, is 3"]


def test_a_replaced_job_is_no_run_of_the_sweep_until_its_line_is_typed_again(tmp_path: Path) -> None:
    folder = SweepFolder(tmp_path, "lr")
    first = [job.folder for job in reconcile_jobs(folder, plan_line("seed=1,2"))]
    changed_line = plan_line("seed=1,2", "data.batch_size=64", "sweep.rerun=true")
    other = [job.folder for job in reconcile_jobs(folder, changed_line)]
    assert (first, other) == (["0", "1"], ["2", "3"])
    folder.write()
    for name in "0123":
        (tmp_path / name).mkdir()
        (tmp_path / name / "run.json").write_text("{}")
    assert [run.path.name for run in find_runs(tmp_path)] == ["2", "3"]
    for name in "0123":
        shutil.rmtree(tmp_path / name)
    again = SweepFolder(tmp_path, "lr")
    again.read()
    assert [job.folder for job in again.jobs] == ["2", "3"]
    with raises_user_error(r"data\.batch_size was 64, is 32"):
        reconcile_jobs(again, plan_line("seed=1,2"))
    assert [job.folder for job in reconcile_jobs(again, plan_line("seed=1,2", "sweep.rerun=true"))] == ["0", "1"]
    assert [job.folder for job in again.earlier] == ["2", "3"]


def restore_moved_paths(file: Path) -> None:
    """Rewrite a file as a version before the move of modules wrote it."""
    text = file.read_text(encoding="utf-8")
    for old, new in MOVED.items():
        text = text.replace(f"{new}.", f"{old}.")
    file.write_text(text, encoding="utf-8")


def test_a_sweep_of_an_earlier_version_is_finished_under_the_same_line(sweep: Sweep, tmp_path: Path) -> None:
    assert sweep("seed=1,2").code == 0
    plan, configs = tmp_path / "lr" / "sweep.json", list((tmp_path / "lr").glob("*/config.yaml"))
    for file in (plan, *configs):
        restore_moved_paths(file)
        assert "viewfinder.data.image_folder.ImageFolder" in file.read_text(encoding="utf-8")
    before = score_times(tmp_path / "lr")
    answer = sweep("seed=1,2")
    assert answer.code == 0, answer.err
    assert "2 jobs: 2 finished" in answer.out
    assert score_times(tmp_path / "lr") == before
    extended = sweep("seed=1,2,3", "sweep.dry_run=true")
    assert "3 jobs: 2 finished, 1 waiting" in extended.out
    assert "viewfinder.data.sources.image_folder.ImageFolder" in plan.read_text(encoding="utf-8")


def test_an_earlier_path_of_a_class_on_the_command_line_is_no_new_value() -> None:
    jobs = sweep_jobs("seed=1,2")
    plan = plan_line("seed=2,1", "loss._target_=viewfinder.loss.CrossEntropy")
    assert match_folders(plan, jobs) == ["1", "0"]
    assert describe_new_values(plan.jobs, jobs) == []


def test_jobs_of_a_version_without_folds_are_found_again() -> None:
    jobs, plan = sweep_jobs("seed=1,2"), plan_line("seed=1,2")
    for job in jobs:
        del job.config["data"]["folds"], job.config["data"]["fold"]
    assert match_folders(plan, jobs) == ["0", "1"]
    assert describe_new_values(plan.jobs, jobs) == []
    folds = plan_line("seed=1,2", "data.folds=2", "data.fold=0,1")
    assert match_folders(folds, jobs) == [None] * 4


def test_changed_code_needs_a_decision_and_reruns_only_the_jobs_it_made(
    sweep: Sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own" / "conf" / "model").mkdir(parents=True)
    network = tmp_path / "own" / "own_network.py"
    network.write_text("from viewfinder.models.mlp import MLP\n\n\nclass Own(MLP):\n    pass\n", encoding="utf-8")
    (tmp_path / "own" / "conf" / "model" / "own.yaml").write_text(
        "_target_: own_network.Own\nwidths: [8]\nimage_size: 8\n", encoding="utf-8"
    )
    monkeypatch.chdir(tmp_path / "own")
    line = ["model=own"]
    first = sweep(*line, "seed=1")
    assert first.code == 0, first.err
    network.write_text(network.read_text() + "\n# another\n", encoding="utf-8")
    answer = sweep(*line, "seed=1,2")
    assert answer.code == 2
    assert "1 job of this command started before the following changed: the code of own_network" in " ".join(
        answer.err.split()
    )
    assert not (tmp_path / "lr" / "1").exists()
    assert sweep(*line, "seed=1,2", "sweep.rerun=false").code == 0
    assert sorted(score_times(tmp_path / "lr")) == ["0", "1"]
    before = score_times(tmp_path / "lr")
    assert sweep(*line, "seed=1,2", "sweep.rerun=true").code == 0
    after = score_times(tmp_path / "lr")
    assert sorted(after) == ["0", "0_2", "1"]
    assert {name: after[name] for name in before} == before
    assert [run.path.name for run in find_runs(tmp_path / "lr")] == ["1", "0_2"]


def test_changed_or_missing_images_need_a_decision(sweep: Sweep, tmp_path: Path) -> None:
    root = paint(tmp_path / "in", seed=3)
    line = [f"data.root={root}", "seed=1,2"]
    assert sweep(*line).code == 0
    shutil.copy(next((root / "val").rglob("00.png")), next((root / "val").rglob("01.png")))
    answer = sweep(*line)
    assert answer.code == 2
    assert "2 jobs of this command started before the following changed: the images (val)" in " ".join(
        answer.err.split()
    )
    shutil.rmtree(root)
    answer = sweep(*line)
    assert answer.code == 2
    assert "does not exist" in " ".join(answer.err.split())
    assert sweep(*line, "sweep.rerun=false").code == 0
