"""Interface of an executor: it hands jobs to a scheduler, says where they are, and cancels them."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, NamedTuple, Protocol

from viewfinder.sweeps.executors.task import Task


class State(StrEnum):
    """State of a job in its scheduler; the run folder alone says whether the run is finished."""

    WAITING = "waiting"
    RUNNING = "running"
    GONE = "gone"


class JobState(NamedTuple):
    """Report of a scheduler about a job."""

    state: State
    id: str = ""
    """the scheduler's id of the job"""
    place: str = ""
    """hosts of a running job"""
    since: str = ""
    """time in ISO format at which it entered this state, if known"""
    reason: str = ""
    """why it waits, or why it is gone"""
    is_cancelled: bool = False
    """whether it was ended on purpose"""
    has_begun: bool = True
    """False if it is gone because the scheduler never started it"""


class QueuedJob(NamedTuple):
    """Attempt at a job of a sweep, as in queue.json."""

    folder: str
    """name of its run folder"""
    attempt: int
    """1 for the first"""
    id: str | None
    """the scheduler's id; None until the scheduler has answered"""


class Batch(NamedTuple):
    """Jobs that are submitted together, as in queue.json."""

    name: str
    """unique name, to find the jobs in the scheduler if their ids were never written"""
    submitted: str
    """time in ISO format"""
    jobs: list[QueuedJob]


class QueueFullError(Exception):
    """Refusal of a scheduler to take more jobs now."""


class Executor(Protocol):
    """Executor behind which a scheduler keeps the jobs, so that the process that submits them may end.

    The constructor takes the keys of its YAML file by name, and `folder`, the folder of the sweep; it creates nothing.
    """

    batch_size: int
    """largest number of jobs of one submission"""
    poll_seconds: float
    """time between two questions to the scheduler"""

    def check(self, configs: Sequence[Mapping[str, Any]]) -> None:
        """Check within seconds that jobs with these configurations can be submitted; create nothing.

        Raises:
            UserError: if the scheduler is missing or cannot be reached, or refuses such jobs.
        """
        ...

    def count_free(self, queued: int) -> int:
        """Return how many more jobs may be submitted now.

        Args:
            queued: jobs of the sweep that wait or run.
        """
        ...

    def submit(self, batch: Batch, tasks: Sequence[Task]) -> list[str]:
        """Submit all tasks of a batch or none, and return their ids in order.

        Raises:
            QueueFullError: if the scheduler takes no more jobs now.
            UserError: if it refuses these jobs.
        """
        ...

    def read_states(self, batches: Sequence[Batch]) -> dict[str, JobState]:
        """Map the run folder of every job of some batches to its state; of several attempts the last counts.

        Raises:
            UserError: if the scheduler does not answer.
        """
        ...

    def cancel(self, ids: Sequence[str]) -> None:
        """Cancel jobs; their runs are saved at the next step.

        Raises:
            UserError: if the scheduler does not answer.
        """
        ...

    def describe_log(self, job_id: str) -> str:
        """Return where the output of a job is: a file, or a command that prints it."""
        ...


def list_latest(batches: Sequence[Batch]) -> dict[str, tuple[Batch, QueuedJob]]:
    """Map the run folder of each job to its last attempt and the batch of that."""
    return {job.folder: (batch, job) for batch in batches for job in batch.jobs}
