"""Difference of two runs on the same test images: McNemar's exact test and a bootstrap interval."""

import math
from typing import NamedTuple

import numpy as np
from scipy import stats

DRAWS = 10_000
"""Bootstrap samples."""
MAX_FACTOR = 100
"""Largest multiple of the images that is recommended."""


class ImageDifference(NamedTuple):
    """Difference of two runs' accuracies, with the noise of the test images alone.

    Args:
        images: number of images.
        only_first: images that only the first run classifies correctly.
        only_second: images that only the second run classifies correctly.
        p_value: McNemar's exact test (McNemar 1947, Psychometrika 12).
    """

    images: int
    only_first: int
    only_second: int
    p_value: float

    @property
    def mean(self) -> float:
        """First accuracy minus second accuracy, as a fraction (0 to 1)."""
        return (self.only_first - self.only_second) / self.images

    @property
    def low(self) -> float:
        """Lower end of the 95% interval."""
        return self._bootstrap(2.5)

    @property
    def high(self) -> float:
        """Upper end of the 95% interval."""
        return self._bootstrap(97.5)

    def _bootstrap(self, percent: float) -> float:
        """Return a percentile of the difference over images drawn with replacement."""
        shares = np.array([self.only_first, self.only_second, self.images - self.only_first - self.only_second])
        drawn = np.random.default_rng(0).multinomial(self.images, shares / self.images, DRAWS)
        return float(np.percentile((drawn[:, 0] - drawn[:, 1]) / self.images, percent))

    def power(self, difference: float, level: float) -> float:
        """Return the probability that a true difference is found at a level of significance."""
        deviation = self._standard_error
        if not deviation:
            return 1.0
        quantile = stats.norm.isf(level / 2)
        return float(sum(stats.norm.sf(quantile - side * difference / deviation) for side in (1, -1)))

    def images_needed(self, level: float) -> int | None:
        """Return how many images would make this difference significant; None for none or too many."""
        if not self.mean:
            return None
        factor = (stats.norm.isf(level / 2) * self._standard_error / abs(self.mean)) ** 2
        return math.ceil(self.images * factor) if factor <= MAX_FACTOR else None

    @property
    def _standard_error(self) -> float:
        """Standard error of the difference."""
        differing = (self.only_first + self.only_second) / self.images
        return math.sqrt(max(differing - self.mean**2, 0) / self.images)


def compute_image_difference(first: np.ndarray, second: np.ndarray) -> ImageDifference:
    """Compare two runs image by image.

    Args:
        first: correctness of the first run's predictions, (N,) bool.
        second: correctness of the second run's predictions for the same images, (N,) bool.
    """
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    differing = only_first + only_second
    p_value = stats.binomtest(only_first, differing).pvalue if differing else 1.0
    return ImageDifference(len(first), only_first, only_second, float(p_value))
