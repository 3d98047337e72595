"""Differences of settings with the noise of seeds and of images."""

import sys

import numpy as np
import pytest
from conftest import ROOT
from scipy import stats

from viewfinder.evaluation.seed_difference import SeedDifference, compute_seed_difference

sys.path.insert(0, str(ROOT / "bench"))

from verdicts import ACCURACY, ONE_POINT, Simulation


def draw_runs(seeds: int, images: int, accuracy: float = 0.8, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((seeds, images)) < accuracy


def test_without_noise_of_images_the_p_value_is_that_of_welchs_test() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.normal(0.8, 0.01, 4), rng.normal(0.79, 0.02, 3)
    variances = (float(first.var(ddof=1)), float(second.var(ddof=1)))
    found = SeedDifference(float(first.mean() - second.mean()), (4, 3), variances, 0.0, 1000)
    expected = stats.ttest_ind(first, second, equal_var=False)
    assert found.p_value == pytest.approx(expected.pvalue, rel=1e-6)
    interval = expected.confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))


def test_without_noise_of_seeds_the_p_value_is_that_of_a_test_over_images() -> None:
    differences = np.random.default_rng(0).normal(0.1, 1, 50)
    found = SeedDifference(float(differences.mean()), (3, 3), (0.0, 0.0), float(differences.var(ddof=1)) / 50, 50)
    assert found.p_value == pytest.approx(stats.ttest_1samp(differences, 0).pvalue, rel=1e-6)


def test_the_variances_are_those_of_a_table_of_seeds_by_images() -> None:
    first, second = draw_runs(4, 300), draw_runs(3, 300, 0.7, seed=1)
    found = compute_seed_difference(first, second)
    accuracies = [[np.mean(run) for run in runs] for runs in (first, second)]
    assert found.mean == pytest.approx(np.mean(accuracies[0]) - np.mean(accuracies[1]))
    assert found.seed_variances == pytest.approx([np.var(values, ddof=1) for values in accuracies])
    # A table of two factors, by its sums of squares.
    rests = []
    for runs in (first.astype(float), second.astype(float)):
        seeds, images = runs.shape
        total = ((runs - runs.mean()) ** 2).sum()
        between = images * ((runs.mean(1) - runs.mean()) ** 2).sum() + seeds * ((runs.mean(0) - runs.mean()) ** 2).sum()
        rests.append((total - between) / ((seeds - 1) * (images - 1)))
    means = first.mean(0) - second.mean(0)
    spread = (np.sum(means**2) + 1) / 302 - means.mean() ** 2
    assert found.image_variance == pytest.approx(max(spread - rests[0] / 4 - rests[1] / 3, 0) / 300)


def test_a_single_run_has_the_spread_of_the_other_settings_seeds() -> None:
    several, single = draw_runs(3, 400), draw_runs(1, 400, seed=1)
    found = compute_seed_difference(several, single)
    assert found.seed_variances[0] == found.seed_variances[1] > 0
    swapped = compute_seed_difference(single, several)
    assert (swapped.mean, swapped.p_value) == pytest.approx((-found.mean, found.p_value))


def test_as_many_seeds_or_images_are_asked_for_as_exclude_0() -> None:
    found = SeedDifference(0.01, (3, 3), (1e-4, 1e-4), 1e-6, 10_000)
    seeds = found.seeds_needed(0.05)
    assert seeds is not None
    assert [found.half_width(0.05, seeds=(n, n)) < 0.01 for n in (seeds - 1, seeds)] == [False, True]
    assert found.images_needed(0.05) is None  # no number of images removes the noise of seeds
    few = SeedDifference(0.01, (3, 3), (1e-6, 1e-6), 1e-3, 500)
    images = few.images_needed(0.05)
    assert images is not None
    assert [few.half_width(0.05, images=n) < 0.01 for n in (images - 1, images + 1)] == [False, True]
    assert few.seeds_needed(0.05) is None


@pytest.mark.parametrize(("seeds", "points"), [(2, 1.0), (3, 0.0), (3, 1.0)])
def test_of_1000_pairs_without_a_difference_at_most_6_percent_are_called_different(seeds: int, points: float) -> None:
    rng, called = np.random.default_rng(0), 0
    for _ in range(1000):
        simulation = Simulation(400, points, rng)
        first, second = (simulation.draw(simulation.draw_seeds(seeds)) for _ in range(2))
        difference = compute_seed_difference(first, second)
        called += abs(difference.mean) > difference.half_width(0.05)
    assert 0 < called <= 60


def test_a_difference_is_found_as_often_as_its_power_says() -> None:
    rng, found, stated = np.random.default_rng(0), 0, 0.0
    for _ in range(300):
        simulation = Simulation(4000, 0.3, rng)
        first = simulation.draw(simulation.draw_seeds(3))
        second = simulation.draw(simulation.draw_seeds(3), ACCURACY - 2 * ONE_POINT)
        difference = compute_seed_difference(first, second)
        found += difference.mean > difference.half_width(0.05)
        stated += difference.power(2 * ONE_POINT, 0.05)
    assert found / 300 == pytest.approx(stated / 300, abs=0.08)
    assert 0.2 < found / 300 < 0.99
