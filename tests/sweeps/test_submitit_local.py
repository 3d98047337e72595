"""Jobs in processes that submitit starts on this machine: they outlive the command, which attaches to them again."""

import os
import platform
import signal
import time
from pathlib import Path

import pytest
from conftest import Train, on_one_line, raises_user_error
from sweep_command import SMALL, Sweep, read_outcome, sweep_command

from viewfinder.runs.folder import RunFolder
from viewfinder.sweeps.executors.protocol import Batch, JobState, QueuedJob, State
from viewfinder.sweeps.executors.submitit_local import SubmititLocal
from viewfinder.sweeps.queue_file import QueueFile
from viewfinder.sweeps.status import read_status

LINE = ["hydra/launcher=submitit_local", "hydra.launcher.array_parallelism=2"]


@pytest.fixture
def sweep(tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Sweep:
    return sweep_command(tiny, tmp_path, monkeypatch, capfd)


@pytest.mark.slow
def test_submitted_jobs_go_on_after_a_signal_are_cancelled_and_end_as_in_one_process(
    sweep: Sweep, tmp_path: Path, train: Train
) -> None:
    line = ["seed=1,2", "trainer.max_epochs=60"]
    answer = sweep(*line, *LINE, "sweep.wait=false")
    assert answer.code == 0
    assert "2 jobs submitted; they go on without this command." in answer.out
    assert "2 jobs submitted before, left alone: 2 running" in sweep(*line, *LINE, "sweep.wait=false").out
    assert "2 jobs with another launcher" in on_one_line(sweep(*line).err)
    runs = [RunFolder(tmp_path / "lr" / name) for name in "01"]
    deadline = time.monotonic() + 300
    while not all(run.last.exists() for run in runs) and time.monotonic() < deadline:
        time.sleep(0.1)
    os.kill(runs[0].read_run()["process"], signal.SIGUSR2)  # as submitit does before a time limit
    assert [job.status for job in read_status(tmp_path / "lr").jobs] == ["running"] * 2
    queue = QueueFile.read(tmp_path / "lr")
    assert queue is not None
    executor, (batch,) = SubmititLocal(folder=tmp_path / "lr"), queue.batches
    executor.cancel([str(batch.jobs[1].id)])
    while executor.read_states([batch])["1"].state != State.GONE and time.monotonic() < deadline:
        time.sleep(0.1)
    answer = sweep(*line, *LINE)
    assert answer.code == 0
    assert "job 1 finished" in answer.out
    queue = QueueFile.read(tmp_path / "lr")
    assert queue is not None
    assert [(job.folder, job.attempt) for batch in queue.batches for job in batch.jobs] == [
        ("0", 1),
        ("1", 1),
        ("1", 2),
    ]
    for seed, run in enumerate(runs, 1):
        assert "resumed" in run.read_run()
        whole = train(tmp_path / f"whole{seed}", *SMALL[:2], *line[1:], f"seed={seed}")
        assert read_outcome(run.path) == read_outcome(whole.path)


def test_a_process_that_is_not_the_jobs_own_counts_as_gone(tmp_path: Path) -> None:
    executor = SubmititLocal(folder=tmp_path)
    own = f"{os.getpid()}@{platform.node()}"
    batch = Batch("x-0", "2026-11-27T10:00:00+00:00", [QueuedJob("0", 1, own), QueuedJob("1", 1, None)])
    assert executor.read_states([batch]) == {"0": JobState(State.GONE, own), "1": JobState(State.GONE)}
    executor.cancel([own])
    with raises_user_error("has jobs on elsewhere"):
        executor.cancel(["1@elsewhere"])


def test_jobs_share_the_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("viewfinder.sweeps.executors.submitit_local.count_cores", lambda: 8)
    found = [SubmititLocal(folder=tmp_path, **keys) for keys in ({}, {"cpus_per_task": 2}, {"array_parallelism": 3})]
    assert [(executor.max_parallel, executor.threads) for executor in found] == [(8, 1), (4, 2), (3, 2)]
    assert [executor.count_free(2) for executor in found] == [6, 2, 1]
