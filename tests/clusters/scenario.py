"""Sweep of six short runs, and checks of its results, whatever has happened to its driver and jobs."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from conftest import ROOT

from viewfinder.runs.folder import RunFolder

COUNT = 6
JOBS = ["model=mlp", "model.widths=[8]", "seed=1,2,3", "optimizer.lr=0.001,0.01", "trainer.max_epochs=20"]


@contextlib.contextmanager
def driver(folder: Path, *overrides: str) -> "Iterator[subprocess.Popen[bytes]]":
    """Run `python train.py -m` for a sweep within this block; its output goes to <folder>.out."""
    words = [f"output_dir={folder.parent}", f"sweep.name={folder.name}", *overrides]
    with folder.with_name(f"{folder.name}.out").open("ab") as out:
        command = [sys.executable, str(ROOT / "train.py"), "-m", *words]
        with subprocess.Popen(command, stdout=out, stderr=out) as process:
            try:
                yield process
            finally:
                process.kill()


def finish(folder: Path, *overrides: str) -> None:
    """Type the line of a sweep and wait until it ends with every job finished."""
    with driver(folder, *overrides) as process:
        assert process.wait(timeout=600) == 0, folder.with_name(f"{folder.name}.out").read_text()


def wait_until(event: str, has_happened: Callable[[], bool], seconds: float = 300, interval: float = 0.2) -> None:
    """Wait for an event, checked at an interval in seconds; AssertionError if it does not happen."""
    end = time.monotonic() + seconds
    while not has_happened():
        assert time.monotonic() < end, f"not within {seconds} s: {event}"
        time.sleep(interval)


def freeze(folder: Path) -> None:
    """Wait until a run has trained an epoch, and stop its process with SIGSTOP."""
    run = RunFolder(folder)
    wait_until(f"first epoch of {folder}", run.metrics.exists, interval=0.005)
    facts = run.read_run()
    assert facts["status"] == "running", facts
    os.kill(facts["process"], signal.SIGSTOP)


def check_same_results(folder: Path, reference: Path) -> None:
    """Compare a sweep with that of one machine: each job once, to its end, and bit for bit."""
    names = {path.parent.name for path in folder.glob("*/run.json")}
    assert names == {path.parent.name for path in reference.glob("*/run.json")}
    for name in names:
        for file in ("metrics.csv", "scores.json", "predictions.csv"):
            assert (folder / name / file).read_bytes() == (reference / name / file).read_bytes(), (name, file)
        log = (folder / name / "train.log").read_text()
        assert log.count("report.html") == 1, log  # named at the end of a run
    assert (folder / "jobs.csv").read_bytes() == (reference / "jobs.csv").read_bytes()


def read_attempts(folder: Path) -> dict[str, int]:
    """Return how many times each job was submitted."""
    batches = json.loads((folder / "queue.json").read_text())["batches"]
    return {job["folder"]: job["attempt"] for batch in batches for job in batch["jobs"]}
