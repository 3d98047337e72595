"""Difference between two settings, with noise from two sources: the seeds of the runs and the test images."""

import math
from typing import Any, NamedTuple

import numpy as np
from scipy import optimize, special, stats

MAX_SEEDS = 100
"""Largest number of seeds that is recommended."""
MAX_FACTOR = 100
"""Largest multiple of the images that is recommended."""
SMALLEST_P = 1e-12


class SeedDifference(NamedTuple):
    """Difference of two settings' mean accuracies, with the noise of seeds and of images.

    Args:
        mean: first mean accuracy minus second mean accuracy, as a fraction (0 to 1).
        seeds: number of runs of each setting.
        seed_variances: variance of a run's accuracy over seeds, of each setting.
        image_variance: variance of `mean` over test images.
        images: number of images.
    """

    mean: float
    seeds: tuple[int, int]
    seed_variances: tuple[float, float]
    image_variance: float
    images: int

    def half_width(self, level: float, seeds: tuple[int, int] | None = None, images: float | None = None) -> float:
        """Return half the width of the interval of `mean`.

        The half-width for seeds (Welch's t interval) and the half-width for images are joined as the sides of a right
        triangle (Zou and Donner 2008, Statistics in Medicine 27), which keeps few seeds from looking like many.

        Args:
            level: level of significance, 0.05 for a 95% interval.
            seeds: numbers of runs to plan with; by default, those of the comparison.
            images: number of images to plan with.
        """
        seeds, images = seeds or self.seeds, images or self.images
        first, second = (variance / count for variance, count in zip(self.seed_variances, seeds, strict=True))
        degrees = max(seeds) - 1.0  # one run of a setting has the other's variance
        if min(seeds) > 1 and first + second > 0:
            degrees = (first + second) ** 2 / (first**2 / (seeds[0] - 1) + second**2 / (seeds[1] - 1))
        seed_part = special.stdtrit(degrees, level / 2) ** 2 * (first + second)
        image_part = special.stdtrit(images - 1, level / 2) ** 2 * self.image_variance * self.images / images
        return math.sqrt(seed_part + image_part)

    @property
    def low(self) -> float:
        """Lower end of the 95% interval."""
        return self.mean - self.half_width(0.05)

    @property
    def high(self) -> float:
        """Upper end of the 95% interval."""
        return self.mean + self.half_width(0.05)

    @property
    def p_value(self) -> float:
        """Level of significance at which the interval would end at 0."""
        if not self.mean:
            return 1.0
        size = abs(self.mean)
        if self.half_width(SMALLEST_P) <= size:
            return SMALLEST_P
        logarithm = optimize.brentq(lambda x: self.half_width(math.exp(x)) - size, math.log(SMALLEST_P), 0)
        return math.exp(logarithm)  # type: ignore[arg-type]

    def power(self, difference: float, level: float) -> float:
        """Return the probability that a true difference is found at a level of significance."""
        first, second = (v / count for v, count in zip(self.seed_variances, self.seeds, strict=True))
        deviation, half = math.sqrt(first + second + self.image_variance), self.half_width(level)
        if not deviation:
            return 1.0
        return float(sum(stats.norm.sf((half - side * difference) / deviation) for side in (1, -1)))

    def seeds_needed(self, level: float) -> int | None:
        """Return how many runs of each setting would make this difference significant; None for too many."""
        counts = range(max(*self.seeds, 2), MAX_SEEDS + 1)
        return next((n for n in counts if self.half_width(level, seeds=(n, n)) < abs(self.mean)), None)

    def images_needed(self, level: float) -> int | None:
        """Return how many test images would make this difference significant; None for too many."""
        most = MAX_FACTOR * self.images
        if not self.mean or self._excess_half_width(level, most) > 0 or self._excess_half_width(level, self.images) < 0:
            return None
        root: Any = optimize.brentq(lambda count: self._excess_half_width(level, count), self.images, most)
        return math.ceil(root)

    def _excess_half_width(self, level: float, images: float) -> float:
        """Return by how much the half-width for a number of images exceeds the difference."""
        return self.half_width(level, images=images) - abs(self.mean)


def compute_seed_difference(first: np.ndarray, second: np.ndarray) -> SeedDifference:
    """Estimate the mean difference of two settings, and its variance over seeds and over images.

    Both estimates come from an analysis of variance of runs by images. Seeds are not paired: a pair of runs with one
    seed shares little more than the order of the images.

    Args:
        first: correctness of the first setting's predictions, (seeds, N) bool.
        second: correctness of the second setting's predictions for the same images, (seeds, N) bool; one of the two
            settings has several seeds.
    """
    seeds, images = (len(first), len(second)), first.shape[1]
    variances = [_estimate_variances(correct) for correct in (first, second)]
    known = [variance for variance in variances if variance is not None]
    (seed_first, rest_first), (seed_second, rest_second) = (variance or known[0] for variance in variances)
    differences = first.mean(0) - second.mean(0)
    mean = float(differences.mean())
    # Half an image more on each side, for samples with few different answers (Agresti and Min 2005, Biometrics 61).
    spread = (float((differences**2).sum()) + 1) / (images + 2) - mean**2
    shared_spread = max(spread - rest_first / seeds[0] - rest_second / seeds[1], 0.0)
    return SeedDifference(mean, seeds, (seed_first, seed_second), shared_spread / images, images)


def _estimate_variances(correct: np.ndarray) -> tuple[float, float] | None:
    """Return the variance of accuracy over seeds, and of single answers besides it; None for a single run."""
    seeds, images = correct.shape
    if seeds < 2:
        return None
    values = correct.astype(np.float64)
    accuracies = values.mean(1)
    rest = values - accuracies[:, None] - values.mean(0) + values.mean()
    return float(accuracies.var(ddof=1)), float((rest**2).sum() / ((seeds - 1) * max(images - 1, 1)))
