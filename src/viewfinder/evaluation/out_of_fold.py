"""Out-of-fold predictions: each image is predicted by the run that had it in its test split."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from viewfinder.errors import Problem, UserError, join_first, join_names
from viewfinder.evaluation.comparison import Comparison
from viewfinder.evaluation.intervals import wilson_interval
from viewfinder.evaluation.read_predictions import read_predictions
from viewfinder.runs.folder import RunFolder
from viewfinder.runs.read import make_file_error

MAX_NAMED = 3
"""Images or runs named in a message."""


def collect_out_of_fold(comparison: Comparison) -> pd.DataFrame:
    """Join the test predictions of all folds of one cross-validation.

    Args:
        comparison: its runs, of one setting and one seed.

    Returns:
        The rows of each run's predictions.csv, as text, with the column fold after the image's name; fold by fold.

    Raises:
        UserError: if the runs are not those of one cross-validation, or a fold is missing or repeated, or an image is.
    """
    table = comparison.table
    folds: list[Any] = table["fold"].tolist() if "fold" in table else [None] * len(table)
    if without := [run for run, fold in zip(table["run"], folds, strict=True) if pd.isna(fold)]:
        rule = f"have no folds: {join_first(without, MAX_NAMED)}"
        raise _make_error([Problem("runs", rule, remedy="Pass runs of a sweep over data.fold with data.folds set.")])
    table = table.sort_values("fold", kind="stable")
    if problems := _find_run_problems(table, comparison.skipped):
        raise _make_error(problems)
    runs = [RunFolder(Path(path)) for path in table["run"]]
    parts = [read_predictions(run.predictions, as_text=True) for run in runs]
    facts = [run.read_data() for run in runs]
    if problems := _find_image_problems(parts, facts, list(table["run"])):
        raise _make_error(problems)
    for fold, part in zip(table["fold"], parts, strict=True):
        part.insert(1, "fold", str(fold))
    return pd.concat(parts, ignore_index=True)


def describe_pooled(table: pd.DataFrame) -> str:
    """Describe the accuracy over the predictions of all folds."""
    correct, count = int(np.sum(table["true"].to_numpy() == table["predicted"].to_numpy())), len(table)
    low, high = wilson_interval(correct, count)
    folds, percent = table["fold"].nunique(), f"{100 * correct / count:.2f} (95% {100 * low:.2f} to {100 * high:.2f})"
    return f"Out of fold: accuracy {percent} over all {count:,} images of {folds} folds"


def _make_error(problems: Sequence[Problem]) -> UserError:
    return UserError("the out-of-fold predictions", problems)


def _find_run_problems(table: pd.DataFrame, skipped: Sequence[tuple[Path, str]]) -> list[Problem]:
    """Return problems with runs: several settings, seeds or cross-validations, and missing or repeated folds."""
    groups = table.groupby(["setting", "seed"], sort=False)
    if len(groups) > 1:
        found = [f"{name[0]}, seed {name[1]}: {len(rows)} runs" for name, rows in groups]  # type: ignore[index]
        rule = f"have {len(found)} settings or seeds, so images would repeat ({join_first(found, MAX_NAMED)})"
        first = next(iter(groups))[1]["run"]
        return [Problem("runs", rule, remedy=f"Pass the runs of one of them: {join_first(list(first), MAX_NAMED)}.")]
    problems = []
    facts = [_read_facts(RunFolder(Path(path))) for path in table["run"]]
    if len({(each["folds"], each["names"]) for each in facts}) > 1:
        return [
            Problem(
                "runs", "divided different images, or the same ones into different folds", remedy="Run all folds again."
            )
        ]
    folds, images = facts[0]["folds"], facts[0]["images"]
    for fold, count in Counter(table["fold"]).items():
        if count > 1:
            runs = list(table.loc[table["fold"] == fold, "run"])
            rule = f"is in {count} runs: {join_first(runs, MAX_NAMED)}"
            problems.append(Problem(f"fold {fold}", rule, remedy="Pass one of them."))
    if missing := sorted(set(range(folds)) - set(table["fold"])):
        plural, verb = ("s", "have") if len(missing) > 1 else ("", "has")
        rule = f"{verb} no finished run: only all {folds} folds together predict all {images:,} images"
        if skipped:
            rule += f"; unfinished: {join_first([f'{path} ({reason})' for path, reason in skipped], MAX_NAMED)}"
        problems.append(Problem(f"fold{plural} {join_names(map(str, missing))}", rule, remedy="Finish their runs."))
    return problems


def _read_facts(run: RunFolder) -> dict[str, Any]:
    facts = run.read_data()
    if "cross_validation" not in facts:
        raise make_file_error(run.data, "lacks cross_validation")
    return facts["cross_validation"]


def _find_image_problems(
    parts: Sequence[pd.DataFrame], facts: Sequence[dict[str, Any]], runs: Sequence[str]
) -> list[Problem]:
    """Return problems with images: in several folds, without a prediction, or with other classes."""
    problems = []
    if other := [run for run, part in zip(runs, parts, strict=True) if list(part) != list(parts[0])]:
        problems.append(Problem(other[0], f"has different classes from {runs[0]}"))
    names = Counter(name for part in parts for name in part["picture"])
    if repeated := [name for name, count in names.items() if count > 1]:
        rule = f"has {len(repeated):,} images in several folds: {join_first(repeated, MAX_NAMED)}"
        problems.append(Problem("predictions.csv", rule, remedy="Run all folds again."))
    expected = facts[0]["cross_validation"]["images"] - len(facts[0].get("skipped", []))
    if len(names) != expected and not problems:
        rule = f"have predictions of {len(names):,} of {expected:,} images"
        remedy = "data.limit and trainer.limit_batches leave out test images; run all folds without them."
        problems.append(Problem("runs", rule, remedy=remedy))
    return problems
