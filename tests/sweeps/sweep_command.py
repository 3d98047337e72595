"""The `python train.py -m` command in this process, and what it leaves in a sweep's folder."""

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import Answer

from viewfinder.cli.train import main
from viewfinder.config.overrides import parse_overrides
from viewfinder.sweeps.folder import SweepJob
from viewfinder.sweeps.plan import Plan, plan_jobs

SMALL = ["model=mlp", "model.widths=[8]", "sweep.name=lr"]
AT_ONCE = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
Sweep = Callable[..., Answer]


def sweep_command(
    tiny: list[str], output_dir: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Sweep:
    """Return a function that runs a sweep of tiny trainings in output_dir/lr."""

    def run(*words: str) -> Answer:
        argv = ["train.py", "-m", *tiny, *SMALL, f"output_dir={output_dir}", *words]
        monkeypatch.setattr(sys, "argv", argv)
        monkeypatch.setattr(sys, "orig_argv", ["python", *argv])
        monkeypatch.setattr(sys, "path", list(sys.path))
        monkeypatch.setenv("OMP_NUM_THREADS", "1")
        capfd.readouterr()
        with pytest.raises(SystemExit) as end:
            main()
        out, err = capfd.readouterr()
        assert isinstance(end.value.code, int)
        assert "Traceback" not in out + err
        return Answer(end.value.code, out, err)

    return run


def plan_line(*words: str) -> Plan:
    return plan_jobs(parse_overrides(["trainer=cpu", *words]))


def sweep_jobs(*words: str) -> list[SweepJob]:
    """Return the jobs of a new sweep."""
    return [SweepJob(str(number), *job) for number, job in enumerate(plan_line(*words).jobs)]


def read_outcome(run: Path) -> dict[str, bytes]:
    """Read the files that must not depend on interruptions."""
    return {name: (run / name).read_bytes() for name in ("metrics.csv", "scores.json", "predictions.csv")}


def score_times(sweep: Path) -> dict[str, Any]:
    """Return the time at which each job was scored, which changes when it runs again."""
    return {file.parent.name: file.stat().st_mtime_ns for file in sweep.glob("*/scores.json")}


@contextlib.contextmanager
def act_when(condition: Callable[[], bool], action: Callable[[], object]) -> Iterator[None]:
    """Call an action as soon as a condition holds during this block."""
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(0.01):
            if condition():
                action()
                return

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
