"""Conclusion of a comparison of settings on their shared test images, in a few sentences."""

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from viewfinder.errors import UserError, join_first
from viewfinder.evaluation.holm import adjust_holm
from viewfinder.evaluation.image_difference import ImageDifference, compute_image_difference
from viewfinder.evaluation.read_predictions import read_shared_images
from viewfinder.evaluation.seed_difference import SeedDifference, compute_seed_difference
from viewfinder.runs.folder import RunFolder

LEVEL = 0.05
"""Level of significance."""
ONE_POINT = 0.01
MAX_SETTINGS = 20
"""Largest number of settings, best first by validation, whose predictions are read."""
MAX_NAMED = 5
"""Settings named in a sentence."""
Difference = SeedDifference | ImageDifference


class Verdict(NamedTuple):
    """Conclusion on the best setting and the next.

    Args:
        test_line: difference on the test images, with interval and p-value; None if the images cannot be compared.
        sentence: the conclusion; "" without one.
        details: further sentences.
    """

    test_line: str | None
    sentence: str
    details: list[str]


def judge_settings(rows: pd.DataFrame, settings: Sequence[str]) -> Verdict:
    """Conclude whether the best setting is better than the next on test images, and than the others.

    The best was chosen among all settings, so p-values are corrected for all pairs of them.

    Args:
        rows: a row for each run: setting, run (its folder), without folds.
        settings: at least two settings, the best by validation first.
    """
    compared = list(settings[:MAX_SETTINGS])
    rows = rows.loc[rows["setting"].isin(compared)]
    try:
        shared = read_shared_images([RunFolder(Path(path)).predictions for path in rows["run"]])
    except UserError as error:
        return Verdict(None, "", [f"No comparison image by image: {error.reason}."])
    groups = {name: shared.correct[(rows["setting"] == name).to_numpy()] for name in compared}
    verdict = judge_groups(groups, len(settings))
    if shared.correct.shape[1] < shared.largest:
        verdict.details.append(f"Compared on the {shared.correct.shape[1]:,} test images that all runs share.")
    return verdict


def judge_groups(groups: Mapping[str, np.ndarray], settings: int) -> Verdict:
    """Conclude as `judge_settings`, from the predictions themselves.

    Args:
        groups: for each setting, the best by validation first, the correctness of its runs' predictions for the same
            images, (runs, N) bool.
        settings: number of settings from which the best was chosen.
    """
    pairs = {pair: compare_pair(groups[pair[0]], groups[pair[1]]) for pair in itertools.combinations(groups, 2)}
    tests = settings * (settings - 1) // 2
    adjusted = dict(zip(pairs, adjust_holm([pair.p_value for pair in pairs.values()], tests), strict=True))
    best, following, *others = groups
    difference, p_value = pairs[best, following], float(adjusted[best, following])
    # The level for this pair at which its corrected p-value would be at LEVEL.
    level = LEVEL * difference.p_value / p_value if 0 < p_value < 1 else LEVEL / tests
    details = []
    if tests > 1:
        pairs_text = f"the {tests:,} pairs of {settings} settings"
        details.append(f"After Holm's correction for {pairs_text}, p {_format_p(p_value)}.")
        details += _describe_others(pairs, adjusted, best, others)
    details.append(_describe_power(difference, level))
    details += _describe_single_runs(groups, best, following)
    return Verdict(_describe_test(difference), _conclude(difference, p_value, level, best, following), details)


def compare_pair(first: np.ndarray, second: np.ndarray) -> Difference:
    """Compare two settings, or two runs if each setting has a single run.

    Args:
        first: correctness of the predictions of the first setting's runs, (runs, N) bool.
        second: correctness of the second's predictions for the same images, (runs, N) bool.
    """
    if len(first) == len(second) == 1:
        return compute_image_difference(first[0], second[0])
    return compute_seed_difference(first, second)


def _describe_test(difference: Difference) -> str:
    points = 100 * difference.mean
    size = f"{abs(points):.2f} {'better' if points > 0 else 'worse'}" if points else "no difference"
    interval = f"({max(-100, 100 * difference.low):.2f} to {min(100, 100 * difference.high):.2f})"
    noise = "McNemar's test of" if isinstance(difference, ImageDifference) else "noise of seeds and of"
    return f"{size} {interval}, p {_format_p(difference.p_value)}, {noise} {difference.images:,} images"


def _conclude(difference: Difference, p_value: float, level: float, best: str, following: str) -> str:
    if p_value >= LEVEL:
        return f"Verdict: undecided. {_describe_need(difference, level)}"
    is_better = difference.mean > 0
    if isinstance(difference, SeedDifference):
        surprise = "" if is_better else " on test, although it was better on validation"
        return f"Verdict: {best} is {'better' if is_better else 'worse'} than {following}{surprise}."
    return (
        f"Verdict: this run of {best} is {'better' if is_better else 'worse'} than this run of {following}. Other "
        "seeds may turn it round: train each setting with at least 3 seeds."
    )


def _describe_need(difference: Difference, level: float) -> str:
    """Describe how many seeds or images would decide if the difference stays as it is."""
    if not difference.mean:
        return "There is no difference to be confirmed by more seeds or images."
    seeds = difference.seeds_needed(level) if isinstance(difference, SeedDifference) else None
    images = difference.images_needed(level)
    ways = [f"about {seeds} seeds of each"] * bool(seeds) + [f"about {images or 0:,} test images"] * bool(images)
    if not ways:
        several = "neither 100 seeds nor " if isinstance(difference, SeedDifference) else "not even "
        return (
            f"A difference of {100 * abs(difference.mean):.2f} points is so small that {several}100 times as many "
            "test images alone would decide."
        )
    return f"If {100 * abs(difference.mean):.2f} points is the true difference, {' or '.join(ways)} would decide."


def _describe_power(difference: Difference, level: float) -> str:
    power = difference.power(ONE_POINT, level)
    share = f"about {100 * power:.0f}%" if power >= 0.01 else "less than 1%"
    return f"A true difference of 1 point would be found with a probability of {share}."


def _describe_others(
    pairs: Mapping[tuple[str, str], Difference],
    adjusted: Mapping[tuple[str, str], float],
    best: str,
    others: Sequence[str],
) -> list[str]:
    """Name the other settings that are worse than the best on test, and those that cannot be told from it."""
    worse = [name for name in others if adjusted[best, name] < LEVEL and pairs[best, name].mean > 0]
    better = [name for name in others if adjusted[best, name] < LEVEL and pairs[best, name].mean < 0]
    unclear = [name for name in others if adjusted[best, name] >= LEVEL]
    parts = (("Worse than", worse), ("Better on test than", better), ("Not told apart from", unclear))
    return [f"{relation} {best}: {join_first(names, MAX_NAMED)}." for relation, names in parts if names]


def _describe_single_runs(groups: Mapping[str, np.ndarray], best: str, following: str) -> list[str]:
    """Say whose spread over seeds stands in for that of a single run."""
    counts = {name: len(groups[name]) for name in (best, following)}
    if min(counts.values()) > 1 or max(counts.values()) == 1:
        return []
    single, several = sorted(counts, key=lambda name: counts[name])
    return [f"{single} has a single run; the spread of {several} over seeds stands in for its own."]


def _format_p(p_value: float) -> str:
    if p_value < 0.0001:
        return "< 0.0001"
    return f"= {p_value:.2g}" if p_value < 0.1 else f"= {p_value:.2f}"
