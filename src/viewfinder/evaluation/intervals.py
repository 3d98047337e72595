"""Confidence intervals of a split's scores, from its confusion matrix."""

import math

import numpy as np

Z = 1.959963984540054
"""Quantile of the normal distribution for an interval of 95%."""
DRAWS = 1_000
"""Bootstrap samples."""


def wilson_interval(correct: int, count: int) -> tuple[float, float]:
    """Return the 95% Wilson score interval of an accuracy (Wilson 1927, JASA 22).

    Args:
        correct: images classified correctly.
        count: images, at least 1.
    """
    share, shrink = correct / count, 1 + Z**2 / count
    centre = (share + Z**2 / (2 * count)) / shrink
    half = Z / shrink * math.sqrt(share * (1 - share) / count + Z**2 / (4 * count**2))
    return max(0.0, centre - half), min(1.0, centre + half)


def bootstrap_f1(confusion: np.ndarray) -> tuple[float, float]:
    """Return the 95% percentile bootstrap interval of the macro F1, drawing images with replacement.

    Args:
        confusion: counts (K, K); rows are true classes.
    """
    true, predicted = confusion.nonzero()
    cells, classes = confusion[true, predicted], len(confusion)
    rng = np.random.default_rng(0)
    is_correct, count = true == predicted, int(cells.sum())
    is_only_predicted = (confusion.sum(1) == 0) & (confusion.sum(0) > 0)  # F1 of 0, whatever is drawn
    values = np.empty(DRAWS)
    for draw in range(DRAWS):
        drawn = rng.multinomial(count, cells / count)
        totals = np.bincount(true, drawn, classes) + np.bincount(predicted, drawn, classes)
        hits = np.bincount(true[is_correct], drawn[is_correct], classes)
        occurring = (totals > 0) | is_only_predicted
        values[draw] = (2 * hits[occurring] / np.maximum(totals[occurring], 1)).mean()
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)
