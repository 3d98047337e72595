"""Comparison of runs: a table of scores, and its summary over seeds and folds."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from viewfinder.config.flatten import flatten
from viewfinder.errors import Problem, UserError, join_names
from viewfinder.evaluation.images import name_images
from viewfinder.evaluation.paired import describe_difference
from viewfinder.evaluation.repeat import format_repeat_command
from viewfinder.evaluation.settings import CLASS, describe_settings, find_differences, format_value, name_phases
from viewfinder.evaluation.verdict import Verdict, judge_settings
from viewfinder.runs.folder import RunFolder

SCORES = ("best_val", "best_test", "best_f1", "last_val", "last_test")


class Comparison(NamedTuple):
    """Scores of finished runs."""

    table: pd.DataFrame
    """a row for each run: run (its path), setting, seed, best_epoch, accuracies and F1; if a run has a fold, also fold
    and folds, the number of folds into which its data are divided"""
    varied: list[dict[str, Any]]
    """for each row, the keys in which its setting differs from others, and their values"""
    skipped: list[tuple[Path, str]]
    """unfinished or unreadable runs, with the reason"""
    notes: Sequence[str] = ()
    """differences other than settings: images, precision, code, versions"""

    def unique_rows(self) -> pd.DataFrame:
        """Return the last row of each setting, seed and fold; an index label is the position in `varied`."""
        return self.table.drop_duplicates(["setting", *list_repeats(self.table)], keep="last")


def list_repeats(table: pd.DataFrame) -> list[str]:
    """Return the columns that tell the runs of one setting apart: seed, and fold if a run has one."""
    return ["seed", *["fold"] * ("fold" in table)]


def read_runs(folders: Sequence[RunFolder]) -> Comparison:
    """Read the scores of finished runs, and name each setting by the keys in which it differs."""
    rows, configs, facts_of_runs, data_of_runs, skipped = [], [], [], [], []
    for folder in folders:
        try:
            facts = folder.read_run()
            if facts["status"] != "finished" or not folder.scores.is_file():
                skipped.append((folder.path, facts.get("error") or folder.status))
                continue
            scores, config = folder.read_scores(), folder.read_settings()
        except UserError as error:
            skipped.append((folder.path, error.reason))
            continue
        best, last = scores["best"], scores["last"]
        rows.append({
            "run": str(folder.path),
            "seed": config["seed"],
            **_read_fold(config.get("data")),
            "best_epoch": best["epoch"],
            "best_val": best["val"]["accuracy"],
            "best_test": best["test"]["accuracy"],
            "best_f1": best["test"]["f1"],
            "last_val": last["val"]["accuracy"],
            "last_test": last["test"]["accuracy"],
        })  # fmt: skip
        configs.append(flatten(config))
        facts_of_runs.append(facts)
        data_of_runs.append(_read_known_data(folder))
    configs = name_phases(configs, [facts.get("overrides", []) for facts in facts_of_runs])
    configs, notes = name_images(configs, data_of_runs)
    fold_columns = ["fold", "folds"] if any(row["fold"] is not None for row in rows) else []
    table = pd.DataFrame(rows, columns=["run", "seed", *fold_columns, "best_epoch", *SCORES])
    table = table.astype(dict.fromkeys(fold_columns, "Int64"))  # missing where a run has no folds
    table.insert(0, "setting", describe_settings(configs))
    return Comparison(table, find_differences(configs), skipped, [*notes, *_note_differences(facts_of_runs)])


def _read_fold(data: Any) -> dict[str, int | None]:
    """Return fold and folds of a run from the settings of its data; None for a run without folds."""
    fold, folds = (data.get(key) if isinstance(data, dict) else None for key in ("fold", "folds"))
    has_folds = isinstance(fold, int) and isinstance(folds, int)
    return {"fold": fold, "folds": folds} if has_folds else {"fold": None, "folds": None}


def _read_known_data(folder: RunFolder) -> dict[str, Any]:
    """Return the content of a run's data.json; empty if it cannot be read."""
    try:
        return folder.read_data()
    except UserError:
        return {}


def _note_differences(facts_of_runs: Sequence[dict[str, Any]]) -> list[str]:
    """Describe differences in precision, code and versions, given each run's run.json."""
    notes = []
    precisions = Counter(facts["precision"] for facts in facts_of_runs if "precision" in facts)
    if len(precisions) > 1:
        counts = join_names(f"{count} in {precision}" for precision, count in precisions.most_common())
        notes.append(
            f"Trained in different precisions ({counts}). Set trainer.precision=32-true to compare like with like."
        )
    for section in ("code", "versions"):
        values: dict[str, set[str]] = {}
        for facts in facts_of_runs:
            for name, value in facts.get(section, {}).items():
                values.setdefault(name, set()).add(value)
        if names := sorted(name for name, distinct in values.items() if len(distinct) > 1):
            notes.append(f"Made with different {section} of {join_names(names)}.")
    return notes


def require_finished(comparison: Comparison) -> None:
    """Raise UserError with the reason for each run if none has finished."""
    if comparison.table.empty:
        problems = [Problem(str(path), f"left out: {reason}") for path, reason in comparison.skipped]
        raise UserError("the runs", problems, headline="no run has finished")


def summarise_settings(table: pd.DataFrame) -> pd.DataFrame:
    """Average scores over seeds and folds: a row for each setting, the best validation accuracy first.

    If a setting has several runs with one seed and fold, the last is used.

    Returns:
        Columns setting, seeds, folds if a run has one, best_epoch, <score>_mean and <score>_std: the sample standard
        deviation, NaN for a single run.
    """
    grouped = table.drop_duplicates(["setting", *list_repeats(table)], keep="last").groupby("setting", sort=False)
    counts = {f"{name}s": (name, "nunique") for name in list_repeats(table)}
    columns = {f"{name}_{statistic}": (name, statistic) for name in SCORES for statistic in ("mean", "std")}
    summary = grouped.agg(**counts, best_epoch=("best_epoch", "mean"), **columns)
    return summary.reset_index().sort_values("best_val_mean", ascending=False, kind="stable", ignore_index=True)


class BestSetting(NamedTuple):
    """Description of the best setting by validation."""

    lead: list[str]
    """lines on its lead over the next setting; empty if there is no other"""
    command: str | None
    """command that repeats it; None if its runs do not record their overrides"""
    verdict: Verdict | None = None
    """conclusion from the test images; None if it is the only setting, or the runs have folds"""
    differences: Sequence[tuple[str, str, str]] = ()
    """keys in which it differs from the next setting, with both values"""


def describe_best(comparison: Comparison, summary: pd.DataFrame) -> BestSetting:
    """Compare the best setting with the next, and find the command that repeats the best.

    Two runs of a single setting are compared with each other.

    Args:
        comparison: runs to compare.
        summary: their settings, from `summarise_settings`.
    """
    if summary.empty:
        return BestSetting([], None)
    settings, rows = list(summary["setting"]), comparison.unique_rows()
    best = rows.loc[rows["setting"] == settings[0]]
    folds = [fold for fold in best["fold"].tolist() if not pd.isna(fold)] if "fold" in best else []
    command = format_repeat_command([RunFolder(Path(path)) for path in best["run"]], best["seed"], folds)
    if len(settings) == 1:
        return _compare_seeds(best, command) if len(best) == 2 and not folds else BestSetting([], command)
    has_folds = "fold" in rows and not all(map(pd.isna, rows["fold"].tolist()))
    verdict = None if has_folds else judge_settings(rows, settings)
    lead = describe_difference(rows, settings[0], settings[1], len(settings), verdict.test_line if verdict else None)
    differences = _list_differences(comparison, rows, settings[0], settings[1])
    return BestSetting(lead, command, verdict, differences)


def _compare_seeds(rows: pd.DataFrame, command: str | None) -> BestSetting:
    """Compare two runs that differ only in their seeds."""
    rows = rows.sort_values("best_val", ascending=False, kind="stable")
    rows = rows.assign(setting=[f"seed {seed}" for seed in rows["seed"]])
    first, second = rows["setting"]
    verdict = judge_settings(rows, [first, second])
    test_lines = [f"  test  {verdict.test_line}"] if verdict.test_line else []
    return BestSetting([f"Is {first} better than {second}? Their settings are equal.", *test_lines], command, verdict)


def _list_differences(
    comparison: Comparison, rows: pd.DataFrame, first: str, second: str
) -> list[tuple[str, str, str]]:
    """List the keys in which two settings differ, and the values of both; "" where a setting lacks the key."""
    values = []
    for name in (first, second):
        varied = comparison.varied[rows.index[list(rows["setting"]).index(name)]]
        values.append({key: format_value(value, key) for key, value in varied.items()})
    ours, theirs = values
    keys = sorted(key for key in ours.keys() | theirs.keys() if ours.get(key) != theirs.get(key))
    return [(key.removesuffix(CLASS), ours.get(key, ""), theirs.get(key, "")) for key in keys]
