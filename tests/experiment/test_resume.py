"""Resumption of runs that were killed or stopped, to their end or to more epochs."""

import os
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, THREE_EPOCHS, Train, Type, assert_same_run, on_one_line, paint
from filelock import FileLock
from interruptions import read_steps, send_signal, start_run
from new_process import run_forked
from omegaconf import OmegaConf

from viewfinder.config.overrides import compose_config
from viewfinder.errors import Stopped
from viewfinder.evaluation.repeat import format_repeat_command
from viewfinder.experiment.resume import resume_experiment
from viewfinder.experiment.stored_config import load_config
from viewfinder.runs.folder import RunFolder


@pytest.mark.slow
@pytest.mark.parametrize(
    "how",
    [["--count", "5", "--seed", "2"], ["--count", "2", "--workers", "2"], ["--count", "2", "--processes", "2"]],
    ids=" ".join,
)
def test_runs_that_are_killed_at_random_moments_end_bit_identical(how: list[str], tmp_path: Path) -> None:
    completed = run_forked([ROOT / "tests" / "stress" / "crashes.py", *how], tmp_path)
    assert completed.returncode == 0, completed.stdout + completed.stderr
    assert f"{how[1]} of {how[1]} bit-identical after " in completed.stdout


def test_a_run_that_was_killed_is_called_so(small: Callable[..., list[str]], tmp_path: Path, whole: RunFolder) -> None:
    whole.update_run(status="running")  # as a killed process leaves it
    assert whole.status == "killed"
    with FileLock(whole.path / ".lock"):
        assert whole.status == "running"


# Every so many steps


def test_checkpoints_within_an_epoch_come_every_so_many_steps_and_change_nothing(
    small: Callable[..., list[str]], at_step: Any, tmp_path: Path, whole: RunFolder
) -> None:
    steps: list[int] = []
    for step in range(1, 25):
        # When a step is over, last.ckpt is that of the step before or an older one.
        at_step(step, lambda: steps.append(read_steps(tmp_path / "run")))
    start_run(small(tmp_path / "run", "trainer.checkpoint_every=3"))
    assert steps == [0, 0, 0, 3, 3, 3, 6, 6, 8, 8, 8, 11, 11, 11, 14, 14, 16, 16, 16, 19, 19, 19, 22, 22]
    ours, theirs = RunFolder.open(tmp_path / "run"), whole
    assert ours.metrics.read_bytes() == theirs.metrics.read_bytes()
    assert ours.predictions.read_bytes() == theirs.predictions.read_bytes()


# More epochs, or fewer


def test_a_run_cannot_end_before_the_epoch_that_it_is_in(
    small: Callable[..., list[str]], at_step: Any, tmp_path: Path, whole: RunFolder, viewfinder: Type
) -> None:
    at_step(11, send_signal("SIGTERM"))
    with pytest.raises(Stopped):
        start_run(small(tmp_path / "run"))
    answer = viewfinder("resume", tmp_path / "run", "trainer.max_epochs=1")
    assert answer.code == 2
    assert "must be 2 or more" in on_one_line(answer.err)
    assert viewfinder("resume", tmp_path / "run", "trainer.max_epochs=2").code == 0
    rows = whole.metrics.read_text().splitlines()
    assert RunFolder.open(tmp_path / "run").metrics.read_text().splitlines() == rows[:3]


@pytest.mark.parametrize("scheduler", ["none", "plateau"])
def test_a_finished_run_with_more_epochs_is_the_run_that_was_begun_with_them(
    train: Train, tmp_path: Path, viewfinder: Type, scheduler: str
) -> None:
    run = train(tmp_path / "run", *THREE_EPOCHS, f"scheduler={scheduler}")
    longer = train(tmp_path / "longer", *THREE_EPOCHS, f"scheduler={scheduler}", "trainer.max_epochs=5")
    answer = viewfinder("resume", run.path, "trainer.max_epochs=5")
    assert answer.code == 0, answer.err
    assert_same_run(run, longer)
    assert run.read_settings()["trainer"]["max_epochs"] == 5
    (extended,) = run.read_run()["extended"]
    assert (extended["from"], extended["to"]) == (3, 5)
    page = run.report.read_text(encoding="utf-8")
    assert "extended" in page
    assert "\nviewfinder resume run trainer.max_epochs=5</pre>" in page
    command = format_repeat_command([run], [42])
    assert command is not None
    again = compose_config([*shlex.split(command)[2:], f"run_dir={run.path}"])
    assert OmegaConf.to_container(again) == run.read_settings()


@pytest.mark.parametrize("folder", ["elsewhere", "where it was started"])
def test_a_new_relative_path_is_found_by_later_commands_from_any_folder(
    whole: RunFolder, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    shutil.copytree(pictures, tmp_path / "here" / "images")
    monkeypatch.chdir(tmp_path / "here")
    if folder == "where it was started":
        whole.update_run(working_folder=str(tmp_path / "here"))
    resume_experiment(whole, ["trainer.max_epochs=4", "data.root=images"])
    stored = {"elsewhere": str(tmp_path / "here" / "images"), "where it was started": "images"}
    assert whole.read_settings()["data"]["root"] == stored[folder]
    monkeypatch.chdir(tmp_path)
    assert Path(load_config(whole, []).data.root) == tmp_path / "here" / "images"


def test_a_finished_run_is_left_alone_and_the_way_to_more_epochs_is_named(whole: RunFolder, viewfinder: Type) -> None:
    before = {path.name: path.read_bytes() for path in whole.path.iterdir()}
    answer = viewfinder("resume", whole.path)
    assert answer.code == 2
    assert "has finished" in on_one_line(answer.err)
    assert f"viewfinder resume {whole.path} trainer.max_epochs=6" in " ".join(answer.err.split())
    assert {path.name: path.read_bytes() for path in whole.path.iterdir()} == before


def test_a_schedule_that_ends_with_the_run_is_not_extended(train: Train, tmp_path: Path, viewfinder: Type) -> None:
    run = train(tmp_path / "run", *THREE_EPOCHS, "scheduler=cosine")
    for overrides, epochs in (([], 6), (["trainer.max_epochs=5"], 5)):
        answer = viewfinder("resume", run.path, *overrides)
        assert answer.code == 2
        said = " ".join(answer.err.split())
        assert "learning-rate schedule was made for 3 epochs" in said
        assert f"a new run with trainer.max_epochs={epochs}, or one with scheduler=none, step or plateau" in said
        assert "viewfinder resume" not in said


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("optimizer.lr=0.1", "would change the experiment"),
        ("trainer.max_epochs=2", "must be 3 or more"),
        ("trainer.max_epoch=9", "Did you mean trainer.max_epochs?"),
        ("trainer.max_epochs=many", "must be a whole number"),
        ("nonsense", "is not key=value"),
    ],
)
def test_what_would_be_another_run_is_refused(whole: RunFolder, viewfinder: Type, override: str, said: str) -> None:
    answer = viewfinder("resume", whole.path, override)
    assert answer.code == 2
    assert said in " ".join(answer.err.split())
    assert whole.read_run()["status"] == "finished"


def test_latest_is_the_run_that_was_written_last(
    small: Callable[..., list[str]], at_step: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, viewfinder: Type
) -> None:
    at_step(3, send_signal("SIGINT"))
    with pytest.raises(Stopped):
        start_run(small(tmp_path / "outputs" / "net" / "new"))
    shutil.copytree(tmp_path / "outputs" / "net" / "new", tmp_path / "outputs" / "net" / "a" / "copy")
    os.utime(tmp_path / "outputs" / "net" / "a" / "copy" / "run.json", (1, 1))
    monkeypatch.chdir(tmp_path)
    assert viewfinder("resume", "latest").code == 0
    assert RunFolder.open(tmp_path / "outputs" / "net" / "new").read_run()["status"] == "finished"
    assert viewfinder("resume", "outputs/net/none").code == 2
    shutil.rmtree("outputs")
    answer = viewfinder("resume", "latest")
    assert "RUN = latest\n    no run found below outputs/ in this folder" in answer.err


# Others


@pytest.mark.slow
def test_run_after_run_leaves_no_file_thread_or_process_behind_in_a_process(tmp_path: Path) -> None:
    completed = run_forked([ROOT / "tests" / "stress" / "many_runs.py", "--count", "6"], tmp_path)
    assert completed.returncode == 0, completed.stdout + completed.stderr


def test_two_processes_do_not_train_one_run(
    small: Callable[..., list[str]], at_step: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, viewfinder: Type
) -> None:
    monkeypatch.setattr("viewfinder.runs.lock.PATIENCE", 0.1)
    answers: list[Any] = []
    at_step(5, lambda: answers.append(viewfinder("resume", tmp_path / "run")))
    start_run(small(tmp_path / "run"))
    (answer,) = answers
    assert answer.code == 2
    assert f"process {os.getpid()} on" in " ".join(answer.err.split())
    assert RunFolder.open(tmp_path / "run").read_run()["status"] == "finished"


def test_a_run_does_not_go_on_with_other_pictures(
    tiny: list[str], at_step: Any, tmp_path: Path, whole: RunFolder, viewfinder: Type
) -> None:
    root = paint(tmp_path / "mine", seed=1)
    at_step(11, send_signal("SIGTERM"))
    with pytest.raises(Stopped):
        start_run([*tiny, *THREE_EPOCHS, f"data.root={root}", f"run_dir={tmp_path / 'run'}"])
    picture = next(iter((root / "train" / "owl").iterdir()))
    original = picture.read_bytes()
    shutil.copy(next(iter((root / "test" / "owl").iterdir())), picture)
    answer = viewfinder("resume", tmp_path / "run")
    assert answer.code == 2
    assert "different images" in " ".join(answer.err.split())
    picture.write_bytes(original)
    shutil.move(root, tmp_path / "moved")
    assert viewfinder("resume", tmp_path / "run").code == 2
    assert viewfinder("resume", tmp_path / "run", f"data.root={tmp_path / 'moved'}").code == 0
    assert RunFolder.open(tmp_path / "run").metrics.read_bytes() == whole.metrics.read_bytes()
