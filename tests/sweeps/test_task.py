"""A task begins or resumes the run in its folder, and leaves it alone where another process trains it."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import assert_same_run
from filelock import FileLock
from sweep_command import plan_line

from viewfinder.errors import Stopped
from viewfinder.runs.folder import RunFolder
from viewfinder.runs.stop_signals import STOP_SIGNALS
from viewfinder.sweeps.executors import task as task_module
from viewfinder.sweeps.executors.distributed import DECISION_VARIABLE
from viewfinder.sweeps.executors.task import CLAIMS, Task, run_task

Make = Callable[[str], Task]


@pytest.fixture
def make_task(small: Callable[..., list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """Return a task that trains for three epochs, for a run folder; undo what it changes in this process."""
    handlers = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(DECISION_VARIABLE, "")
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "orig_argv", sys.orig_argv)
    words = [word for word in small("unused") if not word.startswith("run_dir=")]
    (job,) = plan_line(*words).jobs

    def make(name: str) -> Task:
        folder = tmp_path / "sweep" / name
        return Task(str(folder), job.config, job.overrides, ["python", "train.py", "-m"], str(tmp_path), name)

    yield make
    for number, handler in handlers.items():
        signal.signal(number, handler)


def test_a_task_that_is_stopped_and_run_again_ends_as_if_it_had_never_stopped(
    make_task: Make, whole: RunFolder, at_step: Callable[[int, Callable[[], Any]], None]
) -> None:
    at_step(11, lambda: os.kill(os.getpid(), signal.SIGUSR2))
    with pytest.raises(Stopped) as stopped:
        run_task(make_task("0"))
    assert stopped.value.name == "SIGUSR2"
    run = RunFolder(Path(make_task("0").folder))
    assert run.status == "interrupted"
    assert run_task(make_task("0")) == 0
    assert_same_run(run, whole)
    assert run.read_run()["command"] == "python train.py -m"
    assert run.read_run()["resumed"][0]["epochs"] == 1
    before = run.scores.stat().st_mtime_ns
    assert run_task(make_task("0")) == 0
    assert run.scores.stat().st_mtime_ns == before


def test_a_second_copy_of_a_task_ends_at_once(
    make_task: Make, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(task_module, "PATIENCE", 0.0)
    task = make_task("0")
    claims = Path(task.folder).parent / CLAIMS
    claims.mkdir(parents=True)
    with FileLock(claims / "0"):
        assert run_task(task) == 0
    assert "job 0 is left alone: another process trains it" in capsys.readouterr().out
    assert not Path(task.folder).exists()


def test_a_signal_before_training_ends_a_task(make_task: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RunFolder, "has_started", lambda _: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(Stopped):
        run_task(make_task("0"))
