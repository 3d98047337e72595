"""Cancellation of a sweep's jobs, wherever they are."""

import os
import signal
import time
from pathlib import Path
from platform import node

from viewfinder.errors import Problem, UserError
from viewfinder.runs.lock import is_held_by
from viewfinder.runs.naming import SEARCH_FILE, SWEEP_FILE
from viewfinder.sweeps.executors.open import open_executor
from viewfinder.sweeps.executors.protocol import Executor, State
from viewfinder.sweeps.queue import CANCEL_FILE
from viewfinder.sweeps.queue_file import QueueFile
from viewfinder.sweeps.status import open_sweep, read_owner

ROUNDS = 3
"""Number of times that jobs are cancelled, because a waiting process may still submit some."""


def cancel_sweep(path: Path) -> str:
    """Cancel the running and waiting jobs of a sweep or of a search on a scheduler; each run saves its step.

    Returns:
        What was done, in a sentence.

    Raises:
        UserError: if the path is not a sweep, or its jobs cannot be reached from here.
    """
    is_search = (path / SEARCH_FILE).is_file()
    if not is_search:
        open_sweep(path)
    queue = QueueFile.read(path)
    if queue is not None:
        (path / CANCEL_FILE).touch()
        if count := _cancel_queued(open_executor(queue.launcher, path), queue, path):
            return f"cancelled {count} job{'s' * (count > 1)}; runs are saved at their next step"
    if is_search:
        return "no job of this search is with a scheduler"
    owner = read_owner(open_sweep(path))
    if owner is None:
        return "no job of this sweep runs or waits"
    process, host = owner
    if host != node():
        rule, remedy = f"runs on {host}, and this is {node()}", "Type the command there."
        raise UserError("the sweep", [Problem("SWEEP", rule, str(path), remedy)])
    if not is_held_by(open_sweep(path).path, process):
        rule = f"is run by another process than {SWEEP_FILE} says, which is {process}"
        raise UserError("the sweep", [Problem("SWEEP", rule, str(path), "Stop that process with SIGTERM.")])
    os.kill(process, signal.SIGTERM)
    return f"sent SIGTERM to process {process}: each job saves its step and stops"


def _cancel_queued(executor: Executor, queue: QueueFile, path: Path) -> int:
    """Cancel the jobs of all batches, also of those that a waiting process submits meanwhile; return their number."""
    cancelled: set[str] = set()
    for number in range(ROUNDS):
        states = executor.read_states(queue.batches).values()
        new = [state.id for state in states if state.state != State.GONE and state.id not in cancelled]
        executor.cancel(new)
        cancelled.update(new)
        if number == ROUNDS - 1 or (path / SEARCH_FILE).is_file() or read_owner(open_sweep(path)) is None:
            break
        time.sleep(1.0)
        queue = QueueFile.read(path) or queue
    return len(cancelled)
