"""Workers of a search: jobs of a scheduler that share its trials. Each runs the command of the search."""

import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from optuna.trial import TrialState

from viewfinder.errors import FAILED, Problem, Stopped, UserError, printable
from viewfinder.sweeps.executors.open import open_executor
from viewfinder.sweeps.executors.protocol import Executor, JobState, QueueFullError, State
from viewfinder.sweeps.executors.task import Task
from viewfinder.sweeps.queue import CANCEL_FILE, MAX_ATTEMPTS, refuse_other_launcher
from viewfinder.sweeps.queue_file import QueueFile
from viewfinder.sweeps.queue_output import count_jobs, print_line, print_submitted
from viewfinder.sweeps.search.command import Request, run_search, summarise_search
from viewfinder.sweeps.search.folder import SearchFolder
from viewfinder.sweeps.search.space import SearchSpec, parse_search_spec
from viewfinder.sweeps.search.study import Search
from viewfinder.sweeps.search.summary import SearchCommand, print_start
from viewfinder.sweeps.search.trial import prepare_search


def run_worker(request: Request) -> int:
    """Run trials of a search in a job until enough have ended; return the exit code.

    Raises:
        Stopped: after a signal; the trial is saved, and this job continues it after a restart, or another job does.
    """
    spec = parse_search_spec(request.overrides)
    code = run_search(request, prepare_search(spec, request.name), spec)
    if code > 128:
        raise Stopped(code - 128)
    return code


def queue_search(
    request: Request,
    folder: SearchFolder,
    spec: SearchSpec,
    launcher: dict[str, Any],
    command: SearchCommand,
    is_waiting: bool,
) -> int:
    """Submit the workers of a search that are not with the scheduler yet, and wait for all of them.

    Args:
        request: arguments of each worker.
        folder: the search.
        spec: its specification.
        launcher: `_target_` and keys of the launcher.
        command: command that continues the search.
        is_waiting: wait and print the summary.

    Returns:
        Exit code: 0 if a trial is complete or nobody waits, else FAILED.

    Raises:
        UserError: if the scheduler refuses the workers, or an earlier command's are with another scheduler.
        Stopped: after Ctrl-C; the workers go on.
    """
    search = Search(folder, spec.space, request.sampler, spec.example.seed, request.is_pruning)
    print_start(search, command, request.trials)
    executor = open_executor(launcher, folder.path)
    queue = QueueFile.read(folder.path) or QueueFile(folder.path, launcher)
    queue.launcher = launcher
    names = [str(number) for number in range(command.workers)]
    cancelled = folder.path / CANCEL_FILE
    cancelled.unlink(missing_ok=True)
    for attempt in range(1, MAX_ATTEMPTS + 1):
        with folder.locked("queue", "another command that submits this search"):
            submitted = [job.folder for batch in queue.batches for job in batch.jobs]
            refuse_other_launcher(folder.path, submitted, launcher)
            if _count_ended(search) < request.trials:
                _submit_missing(request, folder, executor, queue, names)
        if not is_waiting:
            print_line("The jobs go on without this command. Type it again to see their trials.")
            return 0
        try:
            _wait(search, executor, queue, names)
        except Stopped:
            print_line("The jobs go on without this command.")
            raise
        missing = request.trials - _count_ended(search)
        if missing <= 0 or cancelled.exists() or attempt == MAX_ATTEMPTS:
            break
        print_line(f"{missing} trial{'s' * (missing > 1)} missing after the last job: submitting the jobs again")
    return 0 if summarise_search(search, spec, command, request.trials) else FAILED


def _submit_missing(
    request: Request, folder: SearchFolder, executor: Executor, queue: QueueFile, names: list[str]
) -> None:
    """Submit the workers that are not with the scheduler, as many as it takes."""
    states = executor.read_states(queue.list_batches(names))
    missing = [name for name in names if states.get(name, JobState(State.GONE)).state == State.GONE]
    if len(missing) < len(names):
        print_line(f"{count_jobs(len(names) - len(missing))} submitted before, left alone")
    chosen = missing[: min(executor.batch_size, executor.count_free(len(names) - len(missing)))]
    if chosen:
        _submit(request, folder, executor, queue, chosen)
    if len(chosen) < len(missing):
        print_line(
            f"{count_jobs(len(missing) - len(chosen))} not submitted, for lack of room; the others run all trials"
        )


def _submit(request: Request, folder: SearchFolder, executor: Executor, queue: QueueFile, names: list[str]) -> None:
    """Submit workers together."""
    batch = queue.add_batch(request.name, names)
    tasks = [
        Task(str((folder.path / job.folder).absolute()), {}, request.overrides, list(sys.orig_argv), str(Path.cwd()),
             f"{batch.name}-{job.folder}-{job.attempt}", request._asdict())
        for job in batch.jobs
    ]  # fmt: skip
    try:
        ids = executor.submit(batch, tasks)
    except QueueFullError as error:
        raise UserError("the scheduler", [Problem("hydra/launcher", f"takes no more jobs: {error}")]) from error
    queue.set_ids(batch.name, ids)
    print_submitted(names, ids)


def _wait(search: Search, executor: Executor, queue: QueueFile, names: list[str]) -> None:
    """Wait until no worker is left, and print each trial that ends."""
    printed = {trial.number for trial in search.trials() if trial.state.is_finished()}
    is_over = False
    while not is_over:
        time.sleep(executor.poll_seconds)
        try:
            states: Mapping[str, JobState] = executor.read_states(queue.list_batches(names))
        except UserError as error:  # for example while the scheduler restarts
            print_line(f"{error.reason}; asking again")
            continue
        is_over = all(state.state == State.GONE for state in states.values())
        for trial in search.trials():
            if trial.state.is_finished() and trial.number not in printed:
                printed.add(trial.number)
                value = f", val accuracy {trial.value:.4f}" if trial.state == TrialState.COMPLETE else ""
                print_line(printable(f"trial {trial.number} {trial.state.name.lower()}{value}"))


def _count_ended(search: Search) -> int:
    return sum(trial.state.is_finished() for trial in search.trials())
