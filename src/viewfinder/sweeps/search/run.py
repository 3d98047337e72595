"""The loop of a search: each trial in a process of its own, and what it came to."""

from collections.abc import Iterator
from typing import Protocol

from viewfinder.errors import printable
from viewfinder.sweeps.executors.local import describe_exit
from viewfinder.sweeps.search.study import Outcome, Search, Taken, TrialState
from viewfinder.training.callbacks.signals import NUMBERS


class Runner(Protocol):
    """Of viewfinder.sweeps.executors.local.LocalExecutor what the loop needs."""

    stop_signal: int | None
    is_closed: bool

    def run(self, jobs: Iterator[Taken]) -> Iterator[tuple[Taken, int]]: ...


class Objective(Protocol):
    """What trials are for: a training, or a function whose best value is known."""

    def outcome(self, trial: Taken) -> Outcome | None:
        """What a trial has left; None if it is not over."""
        ...

    def lost(self, trial: Taken, reason: str) -> None:
        """Leave beside a trial why its process died."""
        ...


def run_trials(search: Search, runner: Runner, objective: Objective, total: int) -> int:
    """Take trials until `total` are finished, by this process or by others: 0, or the signal that stopped it.

    A signal to a trial's process alone stops the search, too; a death of another kind makes that trial a failed one.
    """
    stopped = 0

    def to_do() -> Iterator[Taken]:
        for trial in search.take(total, lambda: runner.is_closed or runner.stop_signal is not None):
            outcome = objective.outcome(trial)  # of a process that was killed before it was told
            if outcome is not None:
                _settle(search, trial, outcome)
                continue
            goes_on = " goes on" if trial.is_begun else ""
            words = " ".join(each.word(trial.values[name]) for name, each in search.space.items())
            print(printable(f"trial {trial.number}{goes_on}: {words}"), flush=True)
            yield trial

    for trial, code in runner.run(to_do()):
        outcome = objective.outcome(trial)
        if outcome is None:
            stopped = runner.stop_signal or _asked_to_stop(code) or stopped
            if stopped:
                runner.is_closed = True
            else:
                reason = describe_exit(code)
                objective.lost(trial, reason)
                outcome = Outcome(TrialState.FAIL, reason=reason)
        _settle(search, trial, outcome)
    return runner.stop_signal or stopped


def _settle(search: Search, trial: Taken, outcome: Outcome | None) -> None:
    search.tell(trial, outcome)
    if outcome is None:
        said = "interrupted"
    elif outcome.state == TrialState.COMPLETE:
        is_best = search.study.best_trial.number == trial.number
        said = f"complete, val accuracy {outcome.value:.4f}{', the best so far' if is_best else ''}"
    else:
        said = f"failed: {outcome.reason}" if outcome.state == TrialState.FAIL else "pruned"
    print(printable(f"trial {trial.number} {said}") + "\n", flush=True)


def _asked_to_stop(code: int) -> int:
    """The signal that asked a process to stop, by its exit code; 0 if none did."""
    number = -code if code < 0 else code - 128
    return number if number in NUMBERS else 0
