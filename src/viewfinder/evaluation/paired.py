"""The difference of two settings, seed by seed, and whether the seeds suffice to tell them apart."""

import math
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

LEVEL = 0.95
MOST_SEEDS = 100
FEW = 3
"""Seeds, below which nothing is said of how many would suffice: their spread is hardly known."""
SPLITS = {"best_val": "val", "best_test": "test"}


class Difference(NamedTuple):
    """Of accuracies as shares: the first setting's less the second's, over the seeds both have."""

    seeds: int
    mean: float
    low: float
    high: float
    """ends of the 95% interval of the mean difference; NaN where every seed's difference is the same"""
    needed: int | None
    """seeds from which on such an interval would exclude 0; None: more than MOST_SEEDS, or no spread to tell by"""

    @property
    def suffices(self) -> bool:
        return self.low > 0 or self.high < 0


def paired_difference(first: np.ndarray, second: np.ndarray) -> Difference:
    """Student's t interval of the mean of first - second.

    Pairing takes out what a seed does to both settings alike. The interval is that of a pair named in advance: of a
    setting that was chosen as the best of several the difference is optimistic, the more so the more there were.

    Args:
        first: (n,) accuracies, n >= 2.
        second: (n,) those of the same seeds.
    """
    # Accuracies are quotients of whole numbers: what is left beyond is rounding.
    differences = np.round(first - second, 12)
    count, mean, deviation = len(differences), float(differences.mean()), float(differences.std(ddof=1))
    if deviation == 0:
        return Difference(count, mean, math.nan, math.nan, None)
    half = _half_width(count, deviation)
    needed = next((n for n in range(2, MOST_SEEDS + 1) if _half_width(n, deviation) < abs(mean)), None)
    return Difference(count, mean, mean - half, mean + half, needed)


def _half_width(count: int, deviation: float) -> float:
    return float(stats.t.ppf((1 + LEVEL) / 2, count - 1)) * deviation / math.sqrt(count)


def say_difference(rows: pd.DataFrame, first: str, second: str, settings: int) -> list[str]:
    """In a few lines, which of two settings is better, by how much, and whether the seeds suffice.

    Args:
        rows: a row for each setting and seed: setting, seed, best_val, best_test.
        first: the setting with the better mean on validation.
        settings: how many there are to choose from.
    """
    ours, theirs = (rows[rows["setting"] == name].set_index("seed") for name in (first, second))
    shared = ours.index.intersection(theirs.index).sort_values()
    question = f"Is {first} better than {second}?"
    if len(shared) < 2:
        count = "no seed" if shared.empty else f"only seed {shared[0]}"
        return [f"{question} They share {count}, and it takes two shared seeds or more to say."]
    lines = [f"{question} Over the {len(shared)} seeds both have, in percentage points and their 95% interval:"]
    for column, split in SPLITS.items():
        found = paired_difference(*(each.loc[shared, column].to_numpy() for each in (ours, theirs)))
        lines.append(f"  {split:<4}  {_said(found)}")
    if len(shared) < max(len(ours), len(theirs)):
        lines.append(f"  The table has the means over all seeds, {len(ours)} and {len(theirs)}.")
    if settings > 2:
        lines.append(f"  Chosen as the best of {settings} settings: its lead on val is optimistic.")
    return lines


def _said(found: Difference) -> str:
    size = f"{100 * abs(found.mean):.2f} {'better' if found.mean > 0 else 'worse'}" if found.mean else "no difference"
    if math.isnan(found.low):
        return f"{size}, the same for each seed{'' if found.mean == 0 else ': no spread to judge it by'}"
    size += f" ({max(-100, 100 * found.low):.2f} to {min(100, 100 * found.high):.2f})"
    if found.suffices:
        return f"{size}: the seeds suffice"
    if found.seeds < FEW:
        return f"{size}: open, {found.seeds} seeds say little"
    return f"{size}: open, {f'about {found.needed}' if found.needed else f'more than {MOST_SEEDS}'} seeds may tell"
