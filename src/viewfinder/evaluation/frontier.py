"""Accuracy against the cost of training, and the settings that no other beats in both."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd

from viewfinder.evaluation.comparison import list_repeats, read_runs, require_finished
from viewfinder.evaluation.costs import read_training_cost
from viewfinder.runs.folder import RunFolder

COSTS = ("seconds", "multiply_adds")
SPLIT_NAMES = {"val": "validation", "test": "test"}
SCORES = {"val": "best_val", "test": "best_test"}
"""Column of a comparison by split: the accuracy of the best epoch."""


class Frontier(NamedTuple):
    """Accuracy and cost of settings."""

    split: Literal["val", "test"]
    settings: pd.DataFrame
    """a row for each setting, the highest accuracy first: setting, seeds, folds if a run has one, <value>_mean and
    <value>_std of accuracy (a fraction), seconds and multiply_adds, and on_<cost>_frontier"""
    notes: list[str]
    """sentences about runs that were left out, lack a cost, or ran elsewhere"""


def read_frontier(folders: Sequence[RunFolder], split: Literal["val", "test"]) -> Frontier:
    """Read accuracy and cost of finished runs, average them over seeds and folds, and mark the Pareto frontiers.

    Args:
        folders: run folders.
        split: split of the accuracy, which is measured with the best weights by validation.

    Raises:
        UserError: if no run has finished.
    """
    comparison = read_runs(folders)
    require_finished(comparison)
    rows = comparison.unique_rows().reset_index(drop=True)
    runs = [RunFolder(Path(path)) for path in rows["run"]]
    costs = [read_training_cost(run) for run in runs]
    rows = rows.assign(
        accuracy=rows[SCORES[split]],
        seconds=[cost.seconds for cost in costs],
        multiply_adds=[cost.multiply_adds for cost in costs],
    )
    notes = [f"left out: {path}: {reason}" for path, reason in comparison.skipped]
    notes += [f"{run.path} has no {reason}" for run, cost in zip(runs, costs, strict=True) for reason in cost.missing]
    return Frontier(split, summarise(rows), [*notes, *_note_places(runs), *comparison.notes])


def summarise(rows: pd.DataFrame) -> pd.DataFrame:
    """Average runs by setting, as described in `Frontier.settings`.

    Args:
        rows: a row for each run: setting, seed, fold if a run has one, accuracy, seconds and multiply_adds.
    """
    counts = {f"{name}s": (name, "nunique") for name in list_repeats(rows)}
    spreads = {
        f"{value}_{statistic}": (value, statistic)
        for value in ("accuracy", *COSTS) for statistic in ("mean", "std")
    }  # fmt: skip
    settings: Any = rows.groupby("setting", sort=False).agg(**counts, **spreads).reset_index()
    settings = settings.sort_values("accuracy_mean", ascending=False, kind="stable", ignore_index=True)
    for cost in COSTS:
        settings[f"on_{cost}_frontier"] = find_frontier(settings[f"{cost}_mean"], settings["accuracy_mean"])
    return settings


def find_frontier(costs: Any, accuracies: Any) -> np.ndarray:
    """Return which points are Pareto optimal: no other has a lower cost and at least the accuracy, or the same cost
    and a higher accuracy.

    Args:
        costs: (n,) costs; points without one (NaN) are not optimal.
        accuracies: (n,) accuracies.
    """
    costs, accuracies = np.asarray(costs, float), np.asarray(accuracies, float)
    cheaper = (costs[None] <= costs[:, None]) & (accuracies[None] >= accuracies[:, None])
    better = cheaper & ((costs[None] < costs[:, None]) | (accuracies[None] > accuracies[:, None]))
    return ~better.any(1) & ~np.isnan(costs)


def _note_places(runs: Sequence[RunFolder]) -> list[str]:
    """Describe that seconds are of different machines or devices; [] if they are not."""
    facts = [run.read_run() for run in runs]
    places = {f"{each.get('device', '?')} of {each.get('machine', {}).get('host', '?')}" for each in facts}
    if len(places) < 2:
        return []
    return [f"The seconds are of different devices: {'; '.join(sorted(places))}."]
