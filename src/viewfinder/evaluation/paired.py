"""Paired comparison of two settings over shared seeds or folds."""

import math
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

LEVEL = 0.95
"""Confidence level of the interval."""
MAX_SEEDS = 100
"""Largest number of seeds that is recommended."""
FEW_SEEDS = 3
"""With fewer seeds the spread is hardly known, and no number of seeds is recommended."""
SPLITS = {"best_val": "val", "best_test": "test"}


class Difference(NamedTuple):
    """Mean difference of two settings' accuracies, as fractions (0 to 1), with its 95% interval."""

    seeds: int
    mean: float
    low: float
    high: float
    """ends of the interval; NaN if the difference is the same for each seed"""
    seeds_needed: int | None
    """number of seeds after which the interval would exclude 0; None for folds, above MAX_SEEDS, or without a spread"""

    @property
    def is_conclusive(self) -> bool:
        """Return whether the interval excludes 0."""
        return self.low > 0 or self.high < 0


def compute_difference(first: np.ndarray, second: np.ndarray, folds: int | None = None) -> Difference:
    """Compute the mean of first - second and its Student's t interval.

    Pairing removes the effect of a seed that both settings share. The interval holds for a pair chosen in advance: for
    the best of several settings the difference is optimistic, the more so the more settings there are.

    Folds share training images, which the interval allows for (Nadeau and Bengio 2003, Machine Learning 52, eq. 9).

    Args:
        first: accuracies, (n,) with n >= 2.
        second: accuracies of the same seeds, (n,).
        folds: number of folds of the cross-validation, finished or not, if the pairs are folds.
    """
    overlap = 1 / (folds - 1) if folds else 0.0  # test images per training image
    # Accuracies are quotients of whole numbers: further digits are rounding errors.
    differences = np.round(first - second, 12)
    count, mean, deviation = len(differences), float(differences.mean()), float(differences.std(ddof=1))
    if deviation == 0:
        return Difference(count, mean, math.nan, math.nan, None)
    half = _half_width(count, deviation, overlap)
    needed = next((n for n in range(2, MAX_SEEDS + 1) if not folds and _half_width(n, deviation) < abs(mean)), None)
    return Difference(count, mean, mean - half, mean + half, needed)


def _half_width(count: int, deviation: float, overlap: float = 0.0) -> float:
    return float(stats.t.ppf((1 + LEVEL) / 2, count - 1)) * deviation * math.sqrt(1 / count + overlap)


def describe_difference(
    rows: pd.DataFrame, first: str, second: str, settings: int, test_line: str | None = None
) -> list[str]:
    """Describe in a few lines which of two settings is better, by how much, and whether the runs suffice.

    Args:
        rows: a row for each setting and seed: setting, seed, best_val, best_test; with folds, also fold and folds.
        first: setting with the better mean on validation.
        second: setting to compare it with.
        settings: number of settings from which `first` was chosen.
        test_line: difference on the test split from another comparison, in place of that over seeds.
    """
    question = f"Is {first} better than {second}?"
    noun, folds, rows = "seed", None, rows.loc[rows["setting"].isin([first, second])]
    names: list[Any] = rows["fold"].tolist() if "fold" in rows else []
    if len(set(names)) > 1 and not any(map(pd.isna, names)):
        folds, *others = sorted(set(map(int, rows["folds"])))
        if others:
            return [f"{question} They have {folds} and {others[-1]} folds; a comparison needs the same folds."]
        noun = "fold"
        pairs = rows["seed"].astype(str) + " fold " + rows["fold"].astype(str)
        rows = rows.assign(seed=pairs if len(set(rows["seed"])) > 1 else rows["fold"])
    ours, theirs = (rows[rows["setting"] == name].set_index("seed") for name in (first, second))
    shared = ours.index.intersection(theirs.index).sort_values()
    if len(shared) < 2:
        count = f"no {noun}" if shared.empty else f"only {noun} {shared[0]}"
        test_lines = [f"  test  {test_line}"] if test_line else []
        return [f"{question} They share {count}; a comparison needs at least two shared {noun}s.", *test_lines]
    lines = [f"{question} Mean over {len(shared)} shared {noun}s, in percentage points, with its 95% interval:"]
    for column, split in SPLITS.items():
        if split == "test" and test_line:
            lines.append(f"  test  {test_line}")
            continue
        first_scores, second_scores = (table.loc[shared, column].to_numpy() for table in (ours, theirs))
        difference = compute_difference(first_scores, second_scores, folds)
        lines.append(f"  {split:<4}  {_describe_split(difference, noun)}")
    if len(shared) < max(len(ours), len(theirs)):
        lines.append(f"  The table shows the means over all {noun}s, {len(ours)} and {len(theirs)}.")
    if folds:
        lines.append("  The interval allows for the training images that folds share.")
    if settings > 2:
        lines.append(f"  Chosen as the best of {settings} settings: its lead on val is optimistic.")
    return lines


def _describe_split(difference: Difference, noun: str) -> str:
    mean, seeds = difference.mean, difference.seeds
    size = f"{100 * abs(mean):.2f} {'better' if mean > 0 else 'worse'}" if mean else "no difference"
    if math.isnan(difference.low):
        return f"{size}, the same for each {noun}{'' if mean == 0 else ': no spread to judge it by'}"
    size += f" ({max(-100, 100 * difference.low):.2f} to {min(100, 100 * difference.high):.2f})"
    if difference.is_conclusive:
        return f"{size}: the {noun}s suffice"
    if noun == "fold":
        return f"{size}: undecided"
    if seeds < FEW_SEEDS:
        return f"{size}: undecided, {seeds} seeds are too few"
    needed = f"about {difference.seeds_needed}" if difference.seeds_needed else f"more than {MAX_SEEDS}"
    return f"{size}: undecided, {needed} seeds may decide"
