"""Task of a scheduler: it begins or resumes the run in a folder, and holds no state of its own."""

import contextlib
import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple, NoReturn

from filelock import FileLock, Timeout

from viewfinder.errors import Stopped, printable
from viewfinder.runs.folder import RunFolder
from viewfinder.runs.launcher import ignore_other_launchers, is_helper
from viewfinder.runs.streams import prepare_streams
from viewfinder.sweeps.executors.distributed import Decision, follow_decision, publish_decision
from viewfinder.training.runtime import configure_threads, fast_imports

TASK_VARIABLE = "VIEWFINDER_TASK"
"""Environment variable with a task as JSON, for `python -m viewfinder.sweeps.executors.task`."""
CLAIMS = ".claims"
"""Folder in a sweep's folder with a lock for each job."""
PATIENCE = 120.0
"""Seconds to wait for another process that has locked the same job.

It may be ending, or its machine may be lost, whose locks an NFS server keeps for 90 seconds.
"""
STOP_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
"""Signals that end a task before its run has begun to handle them."""


class Task(NamedTuple):
    """Everything that the machine of a job needs; plain values."""

    folder: str
    """absolute path of the run folder"""
    config: dict[str, Any]
    overrides: list[str]
    command: list[str]
    """command line that submitted the job, for run.json"""
    working_folder: str
    """folder in which that command was typed"""
    name: str
    """batch, job and attempt"""
    search: dict[str, Any] | None = None
    """request of a search, for a job that runs trials of it in place of a run"""


def run_task(task: Task) -> int:
    """Train the run of a task, or resume it; do nothing if it is finished or another process trains it.

    The other processes of a distributed run follow the decision of the first one, and exit here.

    Returns:
        Exit code of the process, as of `run_job`.

    Raises:
        Stopped: after a signal.
    """
    prepare_streams()
    configure_threads()
    ignore_other_launchers()
    os.chdir(task.working_folder)
    sys.path.insert(0, task.working_folder)
    sys.orig_argv = task.command
    for number in STOP_SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _stop)
    if task.search is not None:
        from viewfinder.sweeps.search.command import Request
        from viewfinder.sweeps.search.workers import run_worker

        return run_worker(Request(**task.search))
    folder = Path(task.folder)
    claims = folder.parent / CLAIMS
    if is_helper():
        _ignore_requeue_signal()  # the first process of the job handles it
        raise SystemExit(_train(task, follow_decision(claims, folder.name)))
    with claimed(claims, folder.name, PATIENCE) as is_mine:
        decision = _decide(RunFolder(folder), is_mine)
        publish_decision(claims, folder.name, decision)
        return _train(task, decision)


def _decide(run: RunFolder, is_mine: bool) -> Decision:
    """Decide whether a run begins, resumes or is left alone, and print why it is left alone."""
    if is_mine and not (run.has_started() and run.status == "finished"):
        return Decision.RESUME if run.has_started() else Decision.BEGIN
    reason = f"another process trains it: {describe_owner(run)}" if not is_mine else "it is finished"
    print(printable(f"job {run.path.name} is left alone: {reason}"), flush=True)
    return Decision.LEAVE


def _train(task: Task, decision: Decision) -> int:
    if decision == Decision.LEAVE:
        return 0
    with fast_imports():
        from viewfinder.sweeps.job import Job, run_job

    return run_job(Job(Path(task.folder), task.config, task.overrides), is_resumed=decision == Decision.RESUME)


def _ignore_requeue_signal() -> None:
    if hasattr(signal, "SIGUSR2"):
        signal.signal(signal.SIGUSR2, signal.SIG_IGN)


def _stop(number: int, _: FrameType | None) -> NoReturn:
    raise Stopped(number)


@contextlib.contextmanager
def claimed(claims: Path, job: str, patience: float) -> Iterator[bool]:
    """Lock a job within this block; yield False if another process keeps the lock for `patience` seconds.

    The lock is beside the run folder, because a run folder that has not started may be removed.
    """
    lock = FileLock(claims / job)
    claims.mkdir(parents=True, exist_ok=True)
    try:
        lock.acquire(patience)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def describe_owner(run: RunFolder) -> str:
    """Name the process that last wrote to a run folder."""
    facts = run.read_run() if run.run.is_file() else {}
    return f"process {facts.get('process', '?')} on {facts.get('machine', {}).get('host', 'an unknown machine')}"


if __name__ == "__main__":
    raise SystemExit(run_task(Task(**json.loads(os.environ[TASK_VARIABLE]))))
