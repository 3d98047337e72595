"""Undocumented parts of Optuna behave as searches expect.

Seen with Optuna 4.0.0 and 5.0.0. If a test fails after an upgrade, adapt viewfinder/sweeps/search/optuna_internals.py,
the one module that uses them.
"""

from pathlib import Path

import optuna
from optuna.trial import TrialState

from viewfinder.runs.outputs import is_output_folder
from viewfinder.sweeps.search.folder import SearchFolder
from viewfinder.sweeps.search.optuna_internals import open_trial
from viewfinder.sweeps.search.space import parse_search_spec


def test_a_trial_started_in_one_study_object_continues_in_another(tmp_path: Path) -> None:
    folder = SearchFolder(tmp_path / "search")
    folder.create_or_continue(parse_search_spec(["optimizer.lr=interval(1e-4,1e-1)"]))
    first, second = folder.load_study(), folder.load_study()
    for _ in range(2):
        started = first.ask()
    value = started.suggest_float("lr", 0, 1)
    started.report(0.5, step=1)
    trial = open_trial(second, started.number)
    assert isinstance(trial, optuna.Trial)
    assert (trial.number, trial.params) == (1, {"lr": value})
    assert trial.suggest_float("lr", 0, 1) == value
    trial.report(0.75, step=2)
    trial.set_user_attr("reason", "none")
    second.tell(trial.number, 0.75)
    waiting, stored = first.get_trials()
    assert waiting.state == TrialState.RUNNING
    assert (stored.state, stored.value) == (TrialState.COMPLETE, 0.75)
    assert stored.intermediate_values == {1: 0.5, 2: 0.75}
    assert stored.user_attrs == {"reason": "none"}


def test_the_database_of_a_new_search_is_closed_and_whole(tmp_path: Path) -> None:
    folder = SearchFolder(tmp_path / "search")
    folder.create_or_continue(parse_search_spec(["optimizer=adam,sgd"]))
    assert sorted(path.name for path in folder.path.iterdir()) == [".locks", "search.db", "search.json"]
    assert is_output_folder(folder.path)
    assert folder.load_study().get_trials() == []
