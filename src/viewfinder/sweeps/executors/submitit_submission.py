"""Submission of tasks through submitit's AutoExecutor."""

import contextlib
import io
import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from viewfinder.errors import Problem, UserError
from viewfinder.sweeps.executors.submitit_task import SubmittedTask
from viewfinder.sweeps.executors.task import Task

FILES = ".submitit"
"""Folder in a sweep's folder with submitit's files and the output of each job."""
INHERITED = ("SLURM_", "SUBMITIT_")
"""Prefixes of variables that a job must not inherit: they describe the job that submitted it."""
KEPT = ("SLURM_CONF", "SUBMITIT_PREEMPT_SIGNAL")
TERMINAL_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGQUIT", "SIGHUP") if hasattr(signal, name)]
"""Signals that a terminal sends to every process started from it."""


def require_submitit(launcher: str) -> None:
    """Raise UserError if submitit is not installed."""
    if find_spec("submitit") is None:
        rule, remedy = "needs submitit, which is not installed", 'pip install "viewfinder[slurm]"'
        raise UserError("the installation", [Problem(f"hydra/launcher={launcher}", rule, remedy=remedy)])


def make_submitit_executor(cluster: str, folder: Path, max_num_timeout: int, parameters: Mapping[str, Any]) -> Any:
    """Return submitit's AutoExecutor.

    Args:
        cluster: "local" or "slurm".
        folder: folder of the sweep.
        max_num_timeout: number of time limits after which a job is not requeued.
        parameters: arguments of its `update_parameters`; None for submitit's default.
    """
    from submitit import AutoExecutor

    executor = AutoExecutor(folder / FILES, cluster=cluster, **{f"{cluster}_max_num_timeout": max_num_timeout})
    executor.update_parameters(**{key: value for key, value in parameters.items() if value is not None})
    return executor


def submit_tasks(executor: Any, tasks: Sequence[Task]) -> list[Any]:
    """Submit tasks together and return submitit's jobs.

    Raises:
        FailedJobError: of submitit, if the scheduler refuses them; its text is the scheduler's message.
    """
    with _own_environment(), contextlib.redirect_stderr(io.StringIO()):  # the scheduler's message, printed by submitit
        return executor.submit_array([SubmittedTask(task) for task in tasks])


def find_log(folder: Path, job_id: str) -> str:
    """Return the file with the errors of a job.

    Args:
        folder: folder of the sweep.
        job_id: submitit's id of the job.
    """
    return str(folder / FILES / f"{job_id}_0_log.err")


@contextlib.contextmanager
def _own_environment() -> Iterator[None]:
    """Hide the variables of the job that this process may itself be from the jobs submitted in this block."""
    hidden = {name: value for name, value in os.environ.items() if name.startswith(INHERITED) and name not in KEPT}
    for name in hidden:
        del os.environ[name]
    try:
        yield
    finally:
        os.environ.update(hidden)


@contextlib.contextmanager
def detached() -> Iterator[None]:
    """Let processes that are started in this block ignore the signals of the terminal, so that they outlive it."""
    previous = {number: signal.signal(number, signal.SIG_IGN) for number in TERMINAL_SIGNALS}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
