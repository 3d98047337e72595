"""Executor for processes on this machine that outlive the command that starts them, by submitit."""

import contextlib
import os
import platform
import signal
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar

import psutil

from viewfinder.config.validate import Count, Text, Whole
from viewfinder.data.resources import count_cores
from viewfinder.errors import Problem, UserError
from viewfinder.sweeps.executors.protocol import Batch, JobState, State, list_latest
from viewfinder.sweeps.executors.submitit_submission import (
    FILES,
    detached,
    find_log,
    make_submitit_executor,
    require_submitit,
    submit_tasks,
)
from viewfinder.sweeps.executors.task import Task

NO_LIMIT = 10**6
"""Minutes in place of no time limit."""
THREADS = "OMP_NUM_THREADS"


class SubmititLocal:
    """Executor of processes on this machine; each job's id is a process id and the machine's name.

    Args:
        folder: folder of the sweep.
        array_parallelism: number of jobs that run at the same time; by default as many as their cores allow.
        cpus_per_task: number of cores that a job uses; by default an equal share.
        gpus_per_node: number of GPUs that each job sees.
        timeout_min: time limit in minutes, before which the run is saved and started again.
        max_num_timeout: number of time limits after which a job is not started again.
        setup: shell commands before each job.
        stderr_to_stdout: write both to one file.
    """

    batch_size = 1000
    poll_seconds = 1.0
    started: ClassVar[list[Any]] = []
    """jobs of this process, kept because Python warns of a process that nobody waits for"""

    def __init__(
        self,
        *,
        folder: Path,
        array_parallelism: Count | None = None,
        cpus_per_task: Count | None = None,
        gpus_per_node: Count | None = None,
        timeout_min: Count | None = None,
        max_num_timeout: Whole = 100,
        setup: list[Text] | None = None,
        stderr_to_stdout: bool = False,
    ):
        cores = count_cores()
        self.folder = folder.absolute()
        self.max_parallel = array_parallelism or max(1, cores // (cpus_per_task or 1))
        self.threads = cpus_per_task or max(1, cores // self.max_parallel)
        self.max_num_timeout = max_num_timeout
        self.parameters = {
            "timeout_min": timeout_min or NO_LIMIT, "gpus_per_node": gpus_per_node, "local_setup": setup,
            "stderr_to_stdout": stderr_to_stdout,
        }  # fmt: skip

    def check(self, configs: Sequence[Mapping[str, Any]]) -> None:
        require_submitit("submitit_local")

    def count_free(self, queued: int) -> int:
        return max(0, self.max_parallel - queued)

    def submit(self, batch: Batch, tasks: Sequence[Task]) -> list[str]:
        executor = make_submitit_executor("local", self.folder, self.max_num_timeout, self.parameters)
        with detached(), _limited_threads(self.threads):
            jobs = submit_tasks(executor, tasks)
        self.started.extend(jobs)
        return [f"{job.job_id}@{platform.node()}" for job in jobs]

    def read_states(self, batches: Sequence[Batch]) -> dict[str, JobState]:
        return {
            folder: self._read_state(job.id) if job.id else JobState(State.GONE)
            for folder, (_, job) in list_latest(batches).items()
        }

    def cancel(self, ids: Sequence[str]) -> None:
        for each in ids:
            if self._read_state(each).state != State.GONE:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(_split_id(each), signal.SIGTERM)

    def describe_log(self, job_id: str) -> str:
        return find_log(self.folder, job_id.partition("@")[0])

    def _read_state(self, job_id: str) -> JobState:
        """Look for the process of a job; another one may have got its number since."""
        try:
            process = psutil.Process(_split_id(job_id))
            if any(str(self.folder / FILES) in word for word in process.cmdline()):
                since = datetime.fromtimestamp(process.create_time()).astimezone().isoformat(timespec="seconds")
                return JobState(State.RUNNING, job_id, platform.node(), since)
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            pass
        return JobState(State.GONE, job_id)


def _split_id(job_id: str) -> int:
    """Return the process id of a job.

    Raises:
        UserError: if the job was started on another machine.
    """
    process, _, host = job_id.partition("@")
    if host != platform.node() or not process.isdecimal():
        rule = f"has jobs on {host or 'another machine'}, which is not this machine, {platform.node()}"
        raise UserError("the sweep", [Problem("sweep", rule, remedy="Type the command there.")])
    return int(process)


@contextlib.contextmanager
def _limited_threads(threads: int) -> Iterator[None]:
    """Limit the threads of processes that are started in this block, unless the user has set the number."""
    is_own = THREADS not in os.environ
    os.environ.setdefault(THREADS, str(threads))
    try:
        yield
    finally:
        if is_own:
            del os.environ[THREADS]
