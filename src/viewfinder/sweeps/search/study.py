"""A search's folder: Optuna's study in SQLite, and who of several processes is at which trial."""

import contextlib
import os
import shlex
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import optuna
from filelock import FileLock, Timeout
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import URL

from viewfinder.data.seeding import derive
from viewfinder.errors import Problem, UserError, join_names
from viewfinder.runs.atomic import read_json, replace_file, write_json
from viewfinder.sweeps.search.space import Space, Typed, Value

PATIENCE = 60
"""Seconds that one process waits for another to let go of the database."""
STARTUP, WARMUP = 5, 3
"""Complete trials before any is pruned, and the first epoch at which one may be."""
REASON = "reason"
"""Of the trial's user attributes: why it failed."""


class Taken(NamedTuple):
    """A trial that this process is to carry out."""

    number: int
    id: int
    """by which the database knows it"""
    values: dict[str, Value]
    is_begun: bool
    """an earlier process was at it"""


class Outcome(NamedTuple):
    """What a trial came to."""

    state: TrialState
    value: float | None = None
    """of a complete one"""
    reason: str = ""
    """of a failed one"""


class SearchFolder:
    """Where a search is kept, and the names of its files."""

    def __init__(self, path: Path):
        self.path = Path(path)
        self.frozen, self.database, self.chart = (path / name for name in ("search.json", "search.db", "search.png"))
        self.locks = path / ".locks"

    def trial(self, number: int) -> Path:
        """Its run folder."""
        return self.path / str(number)

    def lock(self, name: str) -> FileLock:
        self.locks.mkdir(parents=True, exist_ok=True)
        return FileLock(self.locks / name)

    def begin(self, typed: Typed) -> None:
        """Make the search, or see that the one that is here is the same.

        Raises:
            UserError: if another one, or something else, is here.
        """
        if self.path.exists() and not self.locks.exists() and any(self.path.iterdir()):
            rule, remedy = "something is there already that is no search", "Choose another --name."
            raise UserError("the search", [Problem("--name", rule, str(self.path), remedy)])
        now = {
            "typed": typed.overrides,
            "space": {name: str(each) for name, each in typed.space.items()},
            "fixed": _fixed(typed),
        }
        with self.lock("study"):
            if self.frozen.is_file():
                self._compare(read_json(self.frozen), now, os.path.relpath(self.path, typed.first.output_dir))
                return
            optuna.logging.set_verbosity(optuna.logging.WARNING)
            with replace_file(self.database) as beside:
                storage = _storage(beside)
                optuna.create_study(storage=storage, study_name="search", direction="maximize")
                storage.engine.dispose()
            write_json(self.frozen, now)

    def _compare(self, before: dict[str, Any], now: dict[str, Any], name: str) -> None:
        problems = []
        for part, what in (("space", "was searched"), ("fixed", "was")):
            for key in {**before[part], **now[part]}:
                was, is_now = before[part].get(key), now[part].get(key)
                if was != is_now:
                    rule = f"{what} {'not typed' if was is None else was} when this search was begun"
                    problems.append(Problem(key, rule, is_now or "(not typed)"))
        if problems:
            last = problems[-1]
            remedy = f"To go on: {shlex.join(['viewfinder', 'search', *before['typed'], '--name', name])}"
            remedy += "\nOr begin another search with another --name."
            problems[-1] = Problem(last.key, last.rule, last.received, remedy)
            raise UserError(f"the search in {self.path}", problems)

    def study(self, is_pruning: bool = True) -> optuna.Study:
        """The study, to read and write by any number of processes."""
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        pruner = optuna.pruners.MedianPruner(STARTUP, WARMUP) if is_pruning else optuna.pruners.NopPruner()
        return optuna.load_study(study_name="search", storage=_storage(self.database), pruner=pruner)


def _storage(path: Path) -> RDBStorage:
    url = URL.create("sqlite", database=str(path)).render_as_string()
    return RDBStorage(url, engine_kwargs={"connect_args": {"timeout": PATIENCE}})


def _fixed(typed: Typed) -> dict[str, str]:
    """By key; where the results go makes no other search."""
    pairs = (word.partition("=") for word in typed.fixed)
    return {key: value for key, _, value in pairs if key != "output_dir"}


class Search:
    """Takes trials and tells what they came to; of several processes each takes other ones.

    A trial's sampler is seeded by (seed, number): a search that was killed and continued asks for the values that it
    would have asked for, and processes that join in ask for other ones.

    Args:
        sampler: tpe or random.
        seed: the configuration's.
    """

    def __init__(
        self, folder: SearchFolder, space: Space, sampler: str = "tpe", seed: int = 0, is_pruning: bool = True
    ):
        self.folder, self.space, self.sampler, self.seed = folder, space, sampler, seed
        self.study = folder.study(is_pruning)
        self.held: dict[int, FileLock] = {}
        """trials that are this process's"""

    def trials(self) -> list[FrozenTrial]:
        return self.study.get_trials(deepcopy=False)

    def take(self, total: int, is_over: Callable[[], bool] = lambda: False) -> Iterator[Taken]:
        """Trials to carry out until `total` are finished, interrupted ones first; waits while others have the rest.

        Args:
            is_over: asked before each, and while waiting; then there are no more.
        """
        is_said = False
        while not is_over():
            with self.folder.lock("study"):
                trials = self.trials()
                if sum(each.state.is_finished() for each in trials) >= total:
                    return
                trial = self._take_left(trials) or (self._ask(trials) if len(trials) < total else None)
            if trial is not None:
                yield trial
                continue
            if not is_said:
                others = join_names(str(each.number) for each in trials if not each.state.is_finished())
                print(f"waiting for other processes, which have trial {others}", flush=True)
            is_said = True
            time.sleep(0.5)

    def _take_left(self, trials: list[FrozenTrial]) -> Taken | None:
        """One that no process is at."""
        for each in trials:
            if each.state == TrialState.WAITING:  # a process was killed within _ask
                return self._begin()
            if each.state == TrialState.RUNNING and each.number not in self.held and self._hold(each.number):
                return self._taken(optuna.trial.Trial(self.study, each._trial_id), is_begun=True)
        return None

    def _ask(self, trials: list[FrozenTrial]) -> Taken:
        """A new trial. Its values are chosen in a copy of the study and stored in one step: a kill cannot part them."""
        seed = derive(self.seed, "search", len(trials)) % 2**32
        # TPE is multivariate by itself, and has the running trials of other processes in mind (constant_liar).
        samplers = {"tpe": optuna.samplers.TPESampler, "random": optuna.samplers.RandomSampler}
        copy = optuna.create_study(sampler=samplers[self.sampler](seed=seed), direction="maximize")
        copy.add_trials(trials)
        values = copy.ask({name: each.distribution for name, each in self.space.items()}).params
        self.study.enqueue_trial(values)
        return self._begin()

    def _begin(self) -> Taken:
        """The trial that waits."""
        trial = self.study.ask()
        self._hold(trial.number)
        return self._taken(trial, is_begun=False)

    def _taken(self, trial: optuna.Trial, is_begun: bool) -> Taken:
        values = {name: suggest(trial, name, each.distribution) for name, each in self.space.items()}
        return Taken(trial.number, trial._trial_id, values, is_begun)

    def _hold(self, number: int) -> bool:
        lock = self.folder.lock(f"{number}.taken")
        with contextlib.suppress(Timeout):
            lock.acquire(blocking=False)
            self.held[number] = lock
            return True
        return False

    def is_anyones(self, number: int) -> bool:
        """Whether a process, perhaps this one, is at a trial."""
        if number in self.held:
            return True
        try:
            with self.folder.lock(f"{number}.taken").acquire(blocking=False):
                return False
        except Timeout:
            return True

    def tell(self, trial: Taken, outcome: Outcome | None) -> None:
        """Note what a trial came to, and let go of it; None leaves it to be continued."""
        with self.folder.lock("study"):  # or who has just read that it runs would take it next
            if outcome is not None:
                if outcome.reason:
                    optuna.trial.Trial(self.study, trial.id).set_user_attr(REASON, outcome.reason)
                self.study.tell(trial.number, outcome.value, outcome.state)
            self.held.pop(trial.number).release()


def suggest(trial: optuna.Trial, name: str, distribution: optuna.distributions.BaseDistribution) -> Any:
    """A value by Optuna's public ways to ask for one."""
    if isinstance(distribution, optuna.distributions.CategoricalDistribution):
        return trial.suggest_categorical(name, distribution.choices)
    ask = trial.suggest_int if isinstance(distribution, optuna.distributions.IntDistribution) else trial.suggest_float
    return ask(name, distribution.low, distribution.high, step=distribution.step, log=distribution.log)  # type: ignore[attr-defined]
