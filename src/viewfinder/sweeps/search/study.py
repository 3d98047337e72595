"""Trials of a search, shared by the processes that run it."""

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import optuna
from filelock import FileLock, Timeout
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState

from viewfinder.data.seeding import derive_seed
from viewfinder.errors import join_names
from viewfinder.sweeps.search.folder import SearchFolder
from viewfinder.sweeps.search.optuna_internals import open_trial
from viewfinder.sweeps.search.space import Space, Value

FAILURE_REASON = "reason"
"""User attribute of a failed trial in the study."""


class ClaimedTrial(NamedTuple):
    """Trial that this process has claimed, so that no other process runs it."""

    number: int
    values: dict[str, Value]
    is_resumed: bool
    """whether another process has started it"""


class Outcome(NamedTuple):
    """Result of a trial."""

    state: TrialState
    accuracy: float | None = None
    """best validation accuracy of a complete trial"""
    reason: str = ""
    """error of a failed trial"""


class Search:
    """Access of this process to the trials of a study: it claims trials, and stores their outcomes.

    The sampler of each trial is seeded by (seed, number). A search that is killed and continued therefore draws the
    values that it would have drawn, and parallel processes draw different ones.

    Args:
        folder: folder of the search.
        space: parameters to search.
        sampler: tpe or random.
        seed: seed of the configuration.
        is_pruning: stop trials that fall behind.
    """

    def __init__(
        self, folder: SearchFolder, space: Space, sampler: str = "tpe", seed: int = 0, is_pruning: bool = True
    ):
        self.folder, self.space, self.sampler, self.seed = folder, space, sampler, seed
        self.study = folder.load_study(is_pruning)
        self.claims: dict[int, FileLock] = {}
        """locks of this process's trials"""

    def trials(self) -> list[FrozenTrial]:
        """Return all trials of the study."""
        return self.study.get_trials(deepcopy=False)

    def claim_trials(self, total: int, is_stopped: Callable[[], bool] = lambda: False) -> Iterator[ClaimedTrial]:
        """Claim trials until `total` have ended, interrupted ones first.

        While other processes run the remaining ones, this waits: they may be interrupted.

        Args:
            total: number of trials of the search.
            is_stopped: ends the iteration; called before each trial and while waiting.
        """
        is_waiting = False
        while not is_stopped():
            with self.folder.locked("study"):
                trials = self.trials()
                if sum(trial.state.is_finished() for trial in trials) >= total:
                    return
                claimed = self._claim_interrupted(trials) or (self._claim_new(trials) if len(trials) < total else None)
            if claimed is not None:
                yield claimed
                continue
            if not is_waiting:
                others = join_names(str(trial.number) for trial in trials if not trial.state.is_finished())
                print(f"waiting for other processes, which run trial {others}", flush=True)
            is_waiting = True
            time.sleep(0.5)

    def _claim_interrupted(self, trials: list[FrozenTrial]) -> ClaimedTrial | None:
        """Claim an unfinished trial that no process runs."""
        for trial in trials:
            if trial.state == TrialState.WAITING:  # a process was killed in _claim_new
                return self._start_queued()
            is_other = trial.state == TrialState.RUNNING and trial.number not in self.claims
            if is_other and self._acquire(trial.number):
                return self._read_claim(open_trial(self.study, trial.number), is_resumed=True)
        return None

    def _claim_new(self, trials: list[FrozenTrial]) -> ClaimedTrial:
        """Claim a new trial.

        Its values are drawn in a copy of the study and stored in one step, so that a killed process leaves all of them
        or none.
        """
        seed = derive_seed(self.seed, "search", len(trials)) % 2**32
        # TPE is multivariate and takes running trials into account (constant_liar) by default.
        samplers = {"tpe": optuna.samplers.TPESampler, "random": optuna.samplers.RandomSampler}
        copy = optuna.create_study(sampler=samplers[self.sampler](seed=seed), direction="maximize")
        copy.add_trials(trials)
        values = copy.ask({name: parameter.distribution for name, parameter in self.space.items()}).params
        self.study.enqueue_trial(values)
        return self._start_queued()

    def _start_queued(self) -> ClaimedTrial:
        trial = self.study.ask()
        self._acquire(trial.number)
        return self._read_claim(trial, is_resumed=False)

    def _read_claim(self, trial: optuna.Trial, is_resumed: bool) -> ClaimedTrial:
        values = {name: _read_value(trial, name, parameter.distribution) for name, parameter in self.space.items()}
        return ClaimedTrial(trial.number, values, is_resumed)

    def _acquire(self, number: int) -> bool:
        """Lock a trial for this process; return False if another process runs it."""
        lock = self.folder.lock(f"{number}.taken")
        with contextlib.suppress(Timeout):
            lock.acquire(blocking=False)
            self.claims[number] = lock
            return True
        return False

    def is_running(self, number: int) -> bool:
        """Return whether any process runs a trial."""
        if number in self.claims:
            return True
        try:
            with self.folder.lock(f"{number}.taken").acquire(blocking=False):
                return False
        except Timeout:
            return True

    def release_trial(self, trial: ClaimedTrial, outcome: Outcome | None) -> None:
        """Store the outcome of a trial and unlock it; None leaves it to be resumed."""
        with self.folder.locked("study"):  # a process that has just read it as running would claim it otherwise
            if outcome is not None:
                if outcome.reason:
                    open_trial(self.study, trial.number).set_user_attr(FAILURE_REASON, outcome.reason)
                self.study.tell(trial.number, outcome.accuracy, outcome.state)
            self.claims.pop(trial.number).release()


def _read_value(trial: optuna.Trial, name: str, distribution: BaseDistribution) -> Any:
    """Return the value of a parameter in the study."""
    if isinstance(distribution, CategoricalDistribution):
        return trial.suggest_categorical(name, distribution.choices)
    suggest = trial.suggest_int if isinstance(distribution, IntDistribution) else trial.suggest_float
    return suggest(name, distribution.low, distribution.high, step=distribution.step, log=distribution.log)  # type: ignore[attr-defined]
