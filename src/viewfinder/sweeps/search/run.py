"""Execution of a search's trials."""

from collections.abc import Iterator
from typing import Protocol

from optuna.trial import TrialState

from viewfinder.errors import printable
from viewfinder.runs.stop_signals import STOP_SIGNALS
from viewfinder.sweeps.executors.local import describe_exit
from viewfinder.sweeps.search.study import ClaimedTrial, Outcome, Search


class Executor(Protocol):
    """Interface of viewfinder.sweeps.executors.local.LocalExecutor."""

    stop_signal: int | None
    is_draining: bool

    def run(self, jobs: Iterator[ClaimedTrial]) -> Iterator[tuple[ClaimedTrial, int]]: ...


class Objective(Protocol):
    """Objective to maximize, such as the validation accuracy of a training run."""

    def read_outcome(self, trial: ClaimedTrial) -> Outcome | None:
        """Return the outcome that a trial's process has stored, or None if the trial has not ended."""
        ...

    def record_failure(self, trial: ClaimedTrial, reason: str) -> None:
        """Record why a trial's process died."""
        ...


def run_trials(search: Search, executor: Executor, objective: Objective, total: int) -> int:
    """Run trials until `total` have ended in this and other processes.

    A signal that stops a trial's process also stops the search. Any other unexpected end of the process fails that
    trial alone.

    Returns:
        Number of the signal that stopped the search, or 0.
    """
    stop_signal = 0

    def announce_trials() -> Iterator[ClaimedTrial]:
        for trial in search.claim_trials(total, lambda: executor.is_draining or executor.stop_signal is not None):
            outcome = objective.read_outcome(trial)
            if outcome is not None:  # its process was killed before it told the study
                _release_trial(search, trial, outcome)
                continue
            verb = " resumes" if trial.is_resumed else ""
            values = " ".join(parameter.format_override(trial.values[name]) for name, parameter in search.space.items())
            print(printable(f"trial {trial.number}{verb}: {values}"), flush=True)
            yield trial

    for trial, code in executor.run(announce_trials()):
        outcome = objective.read_outcome(trial)
        if outcome is None:
            stop_signal = executor.stop_signal or _find_stop_signal(code) or stop_signal
            if stop_signal:
                executor.is_draining = True
            else:
                reason = describe_exit(code)
                objective.record_failure(trial, reason)
                outcome = Outcome(TrialState.FAIL, reason=reason)
        _release_trial(search, trial, outcome)
    return executor.stop_signal or stop_signal


def _release_trial(search: Search, trial: ClaimedTrial, outcome: Outcome | None) -> None:
    """Store and print the outcome of a trial."""
    search.release_trial(trial, outcome)
    if outcome is None:
        result = "interrupted"
    elif outcome.state == TrialState.COMPLETE:
        is_best = search.study.best_trial.number == trial.number
        result = f"complete, val accuracy {outcome.accuracy:.4f}{', the best so far' if is_best else ''}"
    else:
        result = f"failed: {outcome.reason}" if outcome.state == TrialState.FAIL else "pruned"
    print(printable(f"trial {trial.number} {result}") + "\n", flush=True)


def _find_stop_signal(code: int) -> int:
    """Return the number of the signal that asked a process to stop, given its exit code, or 0."""
    number = -code if code < 0 else code - 128
    return number if number in STOP_SIGNALS else 0
