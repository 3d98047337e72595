"""Paired differences of two settings."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from viewfinder.evaluation.paired import compute_difference, describe_difference


@pytest.mark.parametrize("count", [2, 5, 20])
def test_the_interval_of_a_paired_difference_is_scipys(count: int) -> None:
    rng = np.random.default_rng(count)
    first, second = rng.random((2, count))
    found, theirs = compute_difference(first, second), stats.ttest_rel(first, second)
    interval = theirs.confidence_interval(0.95)
    assert (found.low, found.high) == (pytest.approx(interval.low), pytest.approx(interval.high))
    assert found.mean == pytest.approx(np.mean(first - second))
    assert found.is_conclusive == (theirs.pvalue < 0.05)


def test_as_many_seeds_are_asked_for_as_exclude_0_at_the_same_difference_and_spread() -> None:
    differences = np.array([-0.01, 0.02, 0.03, 0.0])
    found = compute_difference(differences, np.zeros(4))
    assert not found.is_conclusive
    assert found.seeds_needed is not None

    def excludes(count: int) -> bool:
        deviation = differences.std(ddof=1) / math.sqrt(count)
        low, high = stats.t.interval(0.95, count - 1, loc=differences.mean(), scale=deviation)
        return low > 0 or high < 0

    assert [excludes(found.seeds_needed - 1), excludes(found.seeds_needed)] == [False, True]
    assert compute_difference(np.array([0.001, 0.0, 0.5, -0.5]), np.zeros(4)).seeds_needed is None


def seeds_of(**accuracies: list[float]) -> pd.DataFrame:
    """A row a setting and seed, from 1; test is as validation."""
    rows = [
        {"setting": setting, "seed": seed, "best_val": value, "best_test": value}
        for setting, values in accuracies.items()
        for seed, value in enumerate(values, 1)
    ]
    return pd.DataFrame(rows, columns=["setting", "seed", "best_val", "best_test"])


def test_what_is_said_of_two_settings() -> None:
    clear = describe_difference(seeds_of(a=[0.5, 0.51, 0.52], b=[0.4, 0.42, 0.41]), "a", "b", 2)
    assert clear[0] == "Is a better than b? Mean over 3 shared seeds, in percentage points, with its 95% interval:"
    assert clear[1] == "  val   10.00 better (7.52 to 12.48): the seeds suffice"
    assert len(clear) == 3
    unclear = describe_difference(seeds_of(a=[0.5, 0.6], b=[0.49, 0.4]), "a", "b", 3)
    assert unclear[1] == "  val   10.50 better (-100.00 to 100.00): undecided, 2 seeds are too few"
    assert unclear[-1] == "  Chosen as the best of 3 settings: its lead on val is optimistic."
    assert max(map(len, [*clear[1:], *unclear[1:]])) <= 80


@pytest.mark.parametrize(
    ("ours", "theirs", "said"),
    [
        ([0.5, 0.6], [0.5, 0.6], "no difference, the same for each seed"),
        ([0.7, 0.8], [0.6, 0.7], "10.00 better, the same for each seed: no spread to judge it by"),
        ([0.5, 0.6], [0.6, 0.5], "no difference (-100.00 to 100.00): undecided, 2 seeds are too few"),
        ([0.5, 0.6, 0.5], [0.6, 0.4, 0.599], "undecided, more than 100 seeds may decide"),
    ],
)
def test_what_is_said_where_no_number_of_seeds_can_be_named(ours: list[float], theirs: list[float], said: str) -> None:
    assert describe_difference(seeds_of(a=ours, b=theirs), "a", "b", 2)[1].endswith(said)


@pytest.mark.parametrize(("shift", "count"), [(1, "only seed 2"), (5, "no seed")])
def test_settings_that_share_no_two_seeds_are_said_to(shift: int, count: str) -> None:
    rows = seeds_of(a=[0.5, 0.6], b=[0.5, 0.6])
    rows.loc[rows["setting"] == "b", "seed"] += shift
    (said,) = describe_difference(rows, "a", "b", 2)
    assert said == f"Is a better than b? They share {count}; a comparison needs at least two shared seeds."


def folds_of(count: int, **accuracies: list[float]) -> pd.DataFrame:
    """A row a setting and fold, from 0, of a cross-validation with `count` folds."""
    rows = seeds_of(**accuracies)
    return rows.assign(fold=(rows["seed"] - 1).astype("Int64"), folds=count, seed=1)


@pytest.mark.parametrize("finished", [3, 5])
def test_the_interval_over_folds_follows_from_the_number_of_folds_not_from_those_that_have_finished(
    finished: int,
) -> None:
    ours, theirs = [0.61, 0.6, 0.66, 0.59, 0.64][:finished], [0.6, 0.57, 0.6, 0.58, 0.59][:finished]
    differences = 100 * (np.array(ours) - theirs)
    scale = differences.std(ddof=1) * math.sqrt(1 / finished + 1 / 4)  # Nadeau and Bengio 2003: 1/n + test/train
    low, high = stats.t.interval(0.95, finished - 1, loc=differences.mean(), scale=scale)
    said = describe_difference(folds_of(5, a=ours, b=theirs), "a", "b", 2)
    assert f"Mean over {finished} shared folds" in said[0]
    assert f"({low:.2f} to {high:.2f})" in said[1]


def test_settings_with_other_numbers_of_folds_are_not_paired() -> None:
    rows = pd.concat([folds_of(2, a=[0.5, 0.6]), folds_of(3, b=[0.5, 0.6, 0.7])], ignore_index=True)
    assert describe_difference(rows, "a", "b", 2) == [
        "Is a better than b? They have 2 and 3 folds; a comparison needs the same folds."
    ]


def test_settings_without_folds_or_with_one_are_compared_over_seeds_beside_runs_of_other_folds() -> None:
    rows = seeds_of(a=[0.5, 0.51, 0.52], b=[0.4, 0.42, 0.41], c=[0.1, 0.2, 0.3])
    expected = describe_difference(rows, "a", "b", 3)
    for folds in ([pd.NA] * 6 + [0, 1, 2], [2] * 6 + [0, 1, 2]):
        table = rows.assign(fold=pd.array(folds, dtype="Int64"), folds=5)
        assert describe_difference(table, "a", "b", 3) == expected
