"""Executor whose scheduler is a dictionary, and whose jobs end when a test says so."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from viewfinder.errors import Problem, UserError
from viewfinder.runs.folder import RunFolder
from viewfinder.sweeps.executors.protocol import Batch, JobState, QueueFullError, State, list_latest
from viewfinder.sweeps.executors.task import Task
from viewfinder.sweeps.queue_file import QueueFile


class FakeExecutor:
    """Executor that keeps the state of each job by the name of its task.

    Args:
        finished: a finished run, to be copied as the result of a job.
        capacity: number of jobs that it takes.
        largest: number of jobs of a batch beyond which it is full.
    """

    poll_seconds = 0.0

    def __init__(self, finished: RunFolder, capacity: int = 1000, largest: int = 1000, batch_size: int = 1000):
        self.finished, self.capacity, self.largest, self.batch_size = finished, capacity, largest, batch_size
        self.states: dict[str, JobState] = {}
        self.tasks: dict[str, Task] = {}
        self.submissions: list[list[str]] = []
        """run folders of each batch"""
        self.cancelled: list[str] = []
        self.on_poll: Callable[[], object] = self.finish_all
        """called before each answer about states"""
        self.is_silent = False
        self.recorded: list[list[str | None]] = []
        """ids in queue.json during each submission"""

    def check(self, configs: Sequence[Mapping[str, Any]]) -> None:
        pass

    def count_free(self, queued: int) -> int:
        return self.capacity - queued

    def submit(self, batch: Batch, tasks: Sequence[Task]) -> list[str]:
        queue = QueueFile.read(Path(tasks[0].folder).parent)
        assert queue is not None
        self.recorded.append([job.id for job in queue.batches[-1].jobs])
        if len(tasks) > self.largest:
            raise QueueFullError("too many")
        self.submissions.append([job.folder for job in batch.jobs])
        for task in tasks:
            self.tasks[task.name] = task
            self.states[task.name] = JobState(State.WAITING, f"id-{task.name}")
        return [f"id-{task.name}" for task in tasks]

    def read_states(self, batches: Sequence[Batch]) -> dict[str, JobState]:
        self.on_poll()
        if self.is_silent:
            raise UserError("the scheduler", [Problem("squeue", "fails")])
        names = {
            folder: f"{batch.name}-{folder}-{job.attempt}" for folder, (batch, job) in list_latest(batches).items()
        }
        return {folder: self.states.get(name, JobState(State.GONE)) for folder, name in names.items()}

    def cancel(self, ids: Sequence[str]) -> None:
        self.cancelled += ids
        self.states |= {
            name: JobState(State.GONE, state.id, is_cancelled=True)
            for name, state in self.states.items()
            if state.id in ids
        }

    def describe_log(self, job_id: str) -> str:
        return f"log of {job_id}"

    def finish_all(self) -> None:
        """Let every job finish its run."""
        for name, task in self.tasks.items():
            if self.states[name].state != State.GONE:
                shutil.copytree(self.finished.path, task.folder, dirs_exist_ok=True)
                self.states[name] = JobState(State.GONE, f"id-{name}")

    def lose_all(self) -> None:
        """Let every job end without a trace, as with its node."""
        self.states = {name: JobState(State.GONE, state.id, reason="NODE_FAIL") for name, state in self.states.items()}
