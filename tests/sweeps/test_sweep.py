"""Sweeps from start to end: failures, interruptions, dry runs, and folders and disks that cannot be used."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from conftest import ROOT, on_one_line
from sweep_command import AT_ONCE, Sweep, act_when, read_outcome, score_times, sweep_command

from viewfinder.runs.folder import RunFolder
from viewfinder.sweeps.folder import SweepFolder


@pytest.fixture
def sweep(tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Sweep:
    return sweep_command(tiny, tmp_path, monkeypatch, capfd)


@pytest.mark.slow
def test_failed_jobs_do_not_stop_the_others_and_the_same_line_runs_them_again(sweep: Sweep, tmp_path: Path) -> None:
    line = ["optimizer=sgd", "optimizer.lr=0.1,0.2,0.3,0.4,word,1e30", "data.batch_size=16", *AT_ONCE]
    answer = sweep(*line)
    assert answer.code == 2
    table = pd.read_csv(tmp_path / "lr" / "jobs.csv")
    assert table["status"].tolist() == ["finished"] * 4 + ["failed"] * 2
    assert table["optimizer.lr"].tolist() == ["0.1", "0.2", "0.3", "0.4", "word", "1e+30"]
    reasons = table["reason"].tolist()[4:]
    assert "must be a number" in reasons[0]
    assert "is nan at step" in reasons[1]
    for number, reason in zip((4, 5), reasons, strict=True):
        assert f"  job {number}: {reason}" in answer.out.splitlines()
        assert RunFolder(tmp_path / "lr" / str(number)).read_run()["error"] == reason
    scored = [RunFolder(tmp_path / "lr" / str(n)).read_scores()["best"] for n in range(4)]
    assert table["test"].tolist()[:4] == pytest.approx([best["test"]["accuracy"] for best in scored])
    before = score_times(tmp_path / "lr")
    again = sweep(*line)
    assert again.code == 2
    assert "6 jobs: 4 finished, 2 failed" in again.out
    assert "job 4 cannot start: optimizer.lr" in again.out
    assert "(1 of 1)" in again.out
    assert score_times(tmp_path / "lr") == before


def test_no_further_job_starts_after_max_failures(sweep: Sweep, tmp_path: Path) -> None:
    answer = sweep("optimizer.lr=word,other,0.1,0.2", "sweep.max_failures=2")
    assert answer.code == 2
    assert pd.read_csv(tmp_path / "lr" / "jobs.csv")["status"].tolist() == ["failed", "failed", "waiting", "waiting"]
    assert "sweep.max_failures" in answer.out


@pytest.mark.slow
def test_a_killed_job_leaves_the_others_running_and_resumes_bit_identically(sweep: Sweep, tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "lr" / "0")
    with act_when(run.data.exists, lambda: os.kill(json.loads(run.run.read_text())["process"], signal.SIGKILL)):
        answer = sweep("seed=1,2", "trainer.max_epochs=40")
    assert answer.code == 2
    table = pd.read_csv(tmp_path / "lr" / "jobs.csv")
    assert table["status"].tolist() == ["failed", "finished"]
    assert "SIGKILL" in table["reason"][0]
    before = score_times(tmp_path / "lr")
    assert sweep("seed=1,2", "trainer.max_epochs=40").code == 0
    after = score_times(tmp_path / "lr")
    assert after["1"] == before["1"]
    assert sweep("seed=1", "trainer.max_epochs=40", "sweep.name=whole").code == 0
    assert read_outcome(tmp_path / "lr" / "0") == read_outcome(tmp_path / "whole" / "0")


@pytest.mark.slow
def test_ctrl_c_stops_all_jobs_and_the_same_line_resumes_them_bit_identically(sweep: Sweep, tmp_path: Path) -> None:
    line = ["seed=1,2,3", "trainer.max_epochs=40", *AT_ONCE]
    checkpoints = [RunFolder(tmp_path / "lr" / name).last for name in "01"]
    with act_when(
        lambda: all(checkpoint.exists() for checkpoint in checkpoints), lambda: os.kill(os.getpid(), signal.SIGINT)
    ):
        answer = sweep(*line)
    assert answer.code == 130
    assert "To continue: python train.py -m " in answer.out
    statuses = pd.read_csv(tmp_path / "lr" / "jobs.csv")["status"].tolist()
    assert statuses[:2] == ["interrupted"] * 2
    assert statuses[2] == "waiting"
    assert sweep(*line).code == 0
    assert sweep("seed=2", "trainer.max_epochs=40", "sweep.name=whole").code == 0
    assert read_outcome(tmp_path / "lr" / "1") == read_outcome(tmp_path / "whole" / "0")


def test_a_signal_reaches_a_job_that_has_just_started(sweep: Sweep, tmp_path: Path) -> None:
    started = time.monotonic()
    is_planned = (tmp_path / "lr" / "sweep.json").exists
    with act_when(is_planned, lambda: (time.sleep(0.05), os.kill(os.getpid(), signal.SIGINT))):
        answer = sweep("seed=1", "trainer.max_epochs=100000")
    assert answer.code == 130, time.monotonic() - started
    assert "To continue: " in answer.out


def test_a_job_with_lost_scores_runs_again_in_a_new_folder(sweep: Sweep, tmp_path: Path) -> None:
    assert sweep("seed=1").code == 0
    first = RunFolder(tmp_path / "lr" / "0")
    outcome = read_outcome(first.path)
    first.scores.write_text("{}")
    assert "\n0_2            waiting" in sweep("seed=1", "sweep.dry_run=true").out
    assert sweep("seed=1", "sweep.rerun=false").code == 0
    assert read_outcome(tmp_path / "lr" / "0_2") == outcome
    assert first.scores.read_text() == "{}"


def test_a_dry_run_lists_the_jobs_estimates_their_time_and_creates_nothing(sweep: Sweep, tmp_path: Path) -> None:
    answer = sweep("seed=1,2", "optimizer.lr=0.1,word", "sweep.dry_run=true")
    assert answer.code == 0
    assert answer.out.count(" waiting") == 4
    assert answer.out.count("cannot start: optimizer.lr") == 2
    assert list(tmp_path.iterdir()) == []
    assert sweep("seed=1").code == 0
    run = RunFolder(tmp_path / "lr" / "0")
    run.update_run(epoch_seconds=[1800.0, 5400.0])
    before = sorted(tmp_path.rglob("*"))
    answer = sweep("seed=1,2,3", "sweep.dry_run=true", *AT_ONCE)
    assert "3 jobs: 1 finished, 2 waiting" in answer.out
    # Two jobs of two epochs, each epoch an hour by the mean of the finished job.
    assert "about 4.0 hours one at a time" in answer.out
    assert "2.0 hours with 2 at once" in answer.out
    assert sorted(tmp_path.rglob("*")) == before


def test_a_running_sweep_is_left_alone_by_a_second_process(sweep: Sweep, tmp_path: Path) -> None:
    folder = SweepFolder(tmp_path / "lr", "lr")
    with folder.locked():
        folder.write()
        answer = sweep("seed=1,2")
        assert answer.code == 2
        assert f"is locked by process {os.getpid()} on" in on_one_line(answer.err)
        assert [path.name for path in (tmp_path / "lr").iterdir() if path.name != ".lock"] == ["sweep.json"]


@pytest.mark.parametrize("name", ["0", "0.log", ".lock"])
def test_symbolic_links_in_a_sweep_folder_are_refused(name: str, sweep: Sweep, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    (tmp_path / "lr").mkdir()
    (tmp_path / "lr" / "sweep.json").write_text("{}")
    (tmp_path / "lr" / name).symlink_to(victim)
    answer = sweep("seed=1,2", *AT_ONCE)
    assert answer.code == 2
    assert f"links, which a run folder never does: {name}" in on_one_line(answer.err)
    assert list(victim.iterdir()) == []


def test_a_folder_that_is_no_sweep_is_left_alone(sweep: Sweep, tmp_path: Path) -> None:
    (tmp_path / "lr").mkdir()
    (tmp_path / "lr" / "thesis.txt").write_text("mine")
    answer = sweep("seed=1,2")
    assert answer.code == 2
    assert "exists and is not a sweep" in on_one_line(answer.err)
    assert [path.name for path in (tmp_path / "lr").iterdir()] == ["thesis.txt"]


def test_a_full_or_unwritable_disk_is_reported_as_one_error(sweep: Sweep, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    answer = sweep("seed=1,2", f"output_dir={tmp_path / 'file'}")
    assert answer.code == 2
    assert answer.err.startswith("One problem with the disk")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        answer = sweep("seed=1,2")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    assert answer.code == 2
    assert answer.err.startswith("One problem with the disk")
    assert sweep("seed=1").code == 0


@pytest.mark.slow
def test_a_sweep_whose_parent_is_killed_ends_like_an_undisturbed_one() -> None:
    script = [sys.executable, str(ROOT / "tests" / "stress" / "sweep_crashes.py")]
    options = ["--jobs", "2", "--kills", "1", "--seed", "1"]
    line = ["model=mlp", "model.widths=[8]", "data=digits", "trainer.precision=32-true", "trainer.max_epochs=40"]
    completed = subprocess.run([*script, *options, *line], capture_output=True, text=True, check=False)
    assert completed.returncode == 0, completed.stdout + completed.stderr
    assert "2 of 2 jobs finished after 1 of 1 kills, 0 of them twice; 0 differences" in completed.stdout
