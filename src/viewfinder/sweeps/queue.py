"""Driver of a sweep on a scheduler: it submits the jobs, attaches to them, and waits for them.

It may end at any moment. Each batch is in queue.json before it is submitted, and the same command finds its jobs again.
"""

import shlex
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from viewfinder.errors import Problem, Stopped, UserError
from viewfinder.sweeps.executors.open import open_executor
from viewfinder.sweeps.executors.protocol import Batch, Executor, JobState, QueuedJob, QueueFullError, State
from viewfinder.sweeps.executors.task import Task
from viewfinder.sweeps.folder import SweepFolder, SweepJob
from viewfinder.sweeps.job import Job, record_failure
from viewfinder.sweeps.queue_file import QueueFile
from viewfinder.sweeps.queue_output import (
    print_attached,
    print_ended,
    print_left,
    print_line,
    print_started,
    print_submitted,
)

MAX_ATTEMPTS = 3
"""Submissions of a job by one command, where the job is lost each time, as with its node."""
IDENTIFYING = ("_target_", "address")
"""Keys of a launcher that tell schedulers apart."""
CANCEL_FILE = ".cancelled"
"""File that `viewfinder cancel` creates so that a waiting driver submits no more jobs."""


class QueueDriver:
    """Driver of the unfinished jobs of a sweep.

    Args:
        sweep: the sweep, locked by this process.
        queue: its queue file.
        executor: the executor.
        command: command line of this process, for run.json.
        max_failures: number of failed jobs after which no further one starts.
        failures: number of jobs that have failed so far.
    """

    def __init__(
        self,
        sweep: SweepFolder,
        queue: QueueFile,
        executor: Executor,
        command: Sequence[str],
        max_failures: int | None = None,
        failures: int = 0,
    ):
        self.sweep, self.queue, self.executor, self.command = sweep, queue, executor, list(command)
        self.max_failures, self.failures = max_failures, failures
        self.waiting: dict[str, SweepJob] = {}
        """jobs to submit"""
        self.queued: dict[str, SweepJob] = {}
        """jobs with the scheduler"""
        self.states: dict[str, JobState] = {}
        """last known states of these"""
        self.attempts: Counter[str] = Counter()
        """submissions of each job by this process"""
        self.is_draining = False
        """set to submit no further job"""

    def attach(self, jobs: Mapping[str, SweepJob]) -> None:
        """Divide unfinished jobs into those that are with the scheduler and those to submit."""
        (self.sweep.path / CANCEL_FILE).unlink(missing_ok=True)
        states = self.executor.read_states(self.queue.list_batches(jobs))
        for folder, job in jobs.items():
            state = states.get(folder, JobState(State.GONE))
            if state.state == State.GONE and self.sweep.status(folder) != "running":
                self.waiting[folder] = job
            else:
                self.queued[folder], self.states[folder] = job, state
        self._store_found_ids()
        print_attached(self.states)

    def submit(self) -> None:
        """Submit as many jobs as the scheduler takes now, in batches; each is in the queue file beforehand.

        Raises:
            UserError: if the scheduler refuses the jobs.
        """
        size = self.executor.batch_size
        while self.waiting and not self.is_draining and not self._is_cancelled():
            size = min(size, self.executor.count_free(len(self.queued)))
            if size < 1:
                return
            chosen = list(self.waiting.values())[:size]
            batch = self.queue.add_batch(self.sweep.name, [job.folder for job in chosen])
            tasks = [self._make_task(job, batch, queued) for job, queued in zip(chosen, batch.jobs, strict=True)]
            try:
                ids = self.executor.submit(batch, tasks)
            except QueueFullError as error:
                self.queue.remove_batch(batch.name)
                if len(chosen) > 1:
                    size = len(chosen) // 2
                    continue
                if not self.queued:
                    rule, remedy = f"takes no job: {error}", "Wait until others have ended, or ask for less."
                    raise UserError("the scheduler", [Problem("hydra/launcher", rule, remedy=remedy)]) from error
                return
            self.queue.set_ids(batch.name, ids)
            print_submitted([job.folder for job in chosen], ids)
            for job, job_id in zip(chosen, ids, strict=True):
                del self.waiting[job.folder]
                self.queued[job.folder], self.states[job.folder] = job, JobState(State.WAITING, job_id)
                self.attempts[job.folder] += 1

    def wait(self) -> None:
        """Wait until no job is left, and submit jobs that are lost or did not fit in the queue before.

        Raises:
            Stopped: after Ctrl-C; the jobs go on.
        """
        try:
            while self.queued:
                time.sleep(self.executor.poll_seconds)
                self._update()
                try:
                    self.submit()
                except UserError as error:
                    if not self.queued:
                        raise
                    print_line(f"{error.reason}; trying again")
        except Stopped as stopped:
            print_left(self.sweep, len(self.queued), len(self.waiting))
            stopped.is_logged = True
            raise

    def _update(self) -> None:
        """Ask the scheduler for all jobs, and settle those that are gone."""
        try:
            states = self.executor.read_states(self.queue.list_batches(self.queued))
        except UserError as error:  # for example while it restarts
            print_line(f"{error.reason}; asking again")
            time.sleep(self.executor.poll_seconds)
            return
        for folder, job in list(self.queued.items()):
            state, previous = states.get(folder, JobState(State.GONE)), self.states[folder]
            self.states[folder] = state
            if state.state == State.RUNNING != previous.state:
                print_started(job, state)
            if state.state != State.GONE:
                continue
            status = self.sweep.status(folder)
            # Another machine may see the end of the run a moment later, so the next round judges what looks unfinished.
            if status == "finished" or (previous.state == State.GONE and status != "running"):
                del self.queued[folder]
                self._settle(job, state, status)

    def _settle(self, job: SweepJob, state: JobState, status: str) -> None:
        """Report a job that is gone, or submit it again if it is lost."""
        if status in ("finished", "failed"):
            print_ended(self.sweep, job)
            self._count_failure(status == "failed")
        elif state.is_cancelled or self._is_cancelled():
            print_line(f"job {job.folder} cancelled; the same command continues it")
        elif (self.attempts[job.folder] < MAX_ATTEMPTS or not state.has_begun) and not self.is_draining:
            self.attempts[job.folder] -= not state.has_begun
            print_line(f"job {job.folder} is lost{f' ({state.reason})' if state.reason else ''}: submitted again")
            self.waiting[job.folder] = job
        else:
            cause = f" ({state.reason})" if state.reason else ""
            reason = f"its process ended before its run{cause}; see {self.executor.describe_log(state.id)}"
            record_failure(Job(self.sweep.path / job.folder, job.config, job.overrides), reason)
            print_ended(self.sweep, job)
            self._count_failure(True)

    def _count_failure(self, is_failed: bool) -> None:
        self.failures += is_failed
        if self.max_failures is not None and self.failures >= self.max_failures and not self.is_draining:
            self.is_draining = True
            self.waiting.clear()
            self.executor.cancel([
                state.id for folder, state in self.states.items()
                if folder in self.queued and state.state == State.WAITING and state.id
            ])  # fmt: skip
            print_line(f"{self.failures} failed, and sweep.max_failures is {self.max_failures}: no further job starts")

    def _is_cancelled(self) -> bool:
        return (self.sweep.path / CANCEL_FILE).exists()

    def _store_found_ids(self) -> None:
        """Record the ids of jobs that an earlier process submitted before it was killed."""
        for batch in self.queue.list_batches(self.queued):
            ids = [job.id or self.states.get(job.folder, JobState(State.GONE)).id or None for job in batch.jobs]
            if ids != [job.id for job in batch.jobs]:
                self.queue.set_ids(batch.name, ids)

    def _make_task(self, job: SweepJob, batch: Batch, queued: QueuedJob) -> Task:
        folder = (self.sweep.path / job.folder).absolute()
        name = f"{batch.name}-{queued.folder}-{queued.attempt}"
        return Task(str(folder), job.config, job.overrides, self.command, str(Path.cwd()), name)


def open_queue(sweep: SweepFolder, launcher: dict[str, Any]) -> QueueFile:
    """Read the queue file of a sweep, or make a new one; its launcher becomes `launcher`."""
    queue = QueueFile.read(sweep.path) or QueueFile(sweep.path, launcher)
    queue.launcher = launcher
    return queue


def refuse_other_launcher(path: Path, unfinished: Iterable[str], launcher: Mapping[str, Any]) -> None:
    """Check that no job of a sweep or search is with another scheduler than the launcher's.

    Args:
        path: folder of the sweep or search.
        unfinished: names of the folders of its unfinished jobs.
        launcher: `_target_` and keys of the launcher.

    Raises:
        UserError: if one is, or that scheduler does not answer.
    """
    queue = QueueFile.read(path)
    if queue is None or all(queue.launcher.get(key) == launcher.get(key) for key in IDENTIFYING):
        return
    batches = queue.list_batches(unfinished)
    states = open_executor(queue.launcher, path).read_states(batches) if batches else {}
    if count := sum(state.state != State.GONE for state in states.values()):
        rule = f"has {count} job{'s' * (count > 1)} with another launcher, {queue.launcher.get('_target_')}"
        remedy = f"Wait for them, or: {shlex.join(['viewfinder', 'cancel', str(path)])}"
        raise UserError("the sweep", [Problem("hydra/launcher", rule, remedy=remedy)])
