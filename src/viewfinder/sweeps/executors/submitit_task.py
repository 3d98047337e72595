"""Callable that submitit runs on the machine of a job; after submitit's signal it is requeued."""

import signal
from typing import Any

from viewfinder.errors import Stopped
from viewfinder.sweeps.executors.task import Task, run_task


class SubmittedTask:
    """Callable that begins or resumes the run of a task.

    submitit signals a job before its time limit and when it is preempted. The run then saves its step and stops, after
    which submitit's own handler counts the timeout and requeues the job.
    """

    def __init__(self, task: Task):
        self.task = task

    def __call__(self) -> int:
        """Run the task; return its exit code."""
        from submitit import JobEnvironment

        requeue_signal = getattr(signal, f"SIG{JobEnvironment.USR_SIG}")
        try:
            return run_task(self.task)
        except Stopped as stopped:
            if stopped.name == requeue_signal.name:
                signal.raise_signal(requeue_signal)
            raise

    def checkpoint(self) -> Any:
        """Return what submitit shall run next: the same, for the run folder has the state."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)
