"""Two runs on the same images: McNemar's exact test and the bootstrap interval."""

from math import comb

import numpy as np
import pytest

from viewfinder.evaluation.image_difference import ImageDifference, compute_image_difference

STATSMODELS = [
    (10, 3, 0.09228515625), (25, 40, 0.08168153394154003), (5, 5, 1.0), (1, 0, 1.0), (120, 90, 0.045114087864840696),
]  # fmt: skip
"""(only first, only second, p): statsmodels.stats.contingency_tables.mcnemar(exact=True) of 0.15.0."""

SCIPY_BOOTSTRAP = (-0.005, 0.155)
"""Interval of scipy.stats.bootstrap 1.17.1 (percentile, 100,000 samples): 200 images, of which 40 and 25 differ."""


def runs_of(only_first: int, only_second: int, both: int = 50, neither: int = 7) -> tuple[np.ndarray, np.ndarray]:
    cells = [(True, False)] * only_first + [(False, True)] * only_second + [(True, True)] * both
    first, second = np.array(cells + [(False, False)] * neither).T
    return first, second


@pytest.mark.parametrize(("only_first", "only_second", "expected"), STATSMODELS)
def test_the_p_value_is_that_of_statsmodels_and_of_a_sum_over_coins(
    only_first: int, only_second: int, expected: float
) -> None:
    found = compute_image_difference(*runs_of(only_first, only_second))
    assert found.p_value == pytest.approx(expected, rel=1e-9)
    count, fewer = only_first + only_second, min(only_first, only_second)
    tail = sum(comb(count, k) for k in range(fewer + 1)) / 2**count
    assert found.p_value == pytest.approx(min(1, 2 * tail), rel=1e-9)
    assert found.mean == pytest.approx((only_first - only_second) / (count + 57))


def test_the_interval_is_scipys_bootstrap_over_images() -> None:
    first, second = runs_of(40, 25, both=120, neither=15)
    found = compute_image_difference(first, second)
    assert (found.low, found.high) == pytest.approx(SCIPY_BOOTSTRAP, abs=0.006)
    assert compute_image_difference(first, second) == found


def test_as_many_images_are_asked_for_as_make_the_difference_significant() -> None:
    found = ImageDifference(1000, 60, 45, 0.2)
    needed = found.images_needed(0.05)
    assert needed is not None

    def is_significant(images: int) -> bool:
        deviation = np.sqrt((0.105 - 0.015**2) / images)
        return 0.015 / deviation >= 1.959964

    assert [is_significant(needed - 1), is_significant(needed)] == [False, True]
    assert ImageDifference(1000, 50, 50, 1.0).images_needed(0.05) is None
    assert ImageDifference(1000, 51, 50, 1.0).images_needed(0.05) is None  # more than 100 times as many


def test_equal_predictions_are_no_difference() -> None:
    same = np.array([True, False, True])
    found = compute_image_difference(same, same)
    assert (found.mean, found.low, found.high, found.p_value) == (0, 0, 0, 1)
