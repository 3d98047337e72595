"""Calibration: agreement of the probabilities of predictions with their accuracy, and temperature scaling."""

from typing import NamedTuple

import numpy as np
from scipy.special import log_softmax

from viewfinder.errors import Problem, UserError

BINS = 15
"""Number of confidence intervals of equal width in a reliability diagram (Guo et al. 2017, ICML)."""
LOWEST, HIGHEST = 0.02, 50.0
"""Range of temperatures; the highest makes probabilities that are worse than none almost equal."""


class Reliability(NamedTuple):
    """Predictions in bins of their confidence, the probability of the predicted class.

    Args:
        counts: images in each bin, (BINS,).
        confidences: their mean confidence, (BINS,); 0 in an empty bin.
        accuracies: their accuracy, (BINS,); 0 in an empty bin.
    """

    counts: np.ndarray
    confidences: np.ndarray
    accuracies: np.ndarray

    @property
    def error(self) -> float:
        """Expected calibration error: the mean over images of |accuracy - confidence| of their bin."""
        gaps = np.abs(self.accuracies - self.confidences)
        return float((self.counts * gaps).sum() / max(self.counts.sum(), 1))


def measure_reliability(probabilities: np.ndarray, labels: np.ndarray) -> Reliability:
    """Sort predictions into bins of their confidence; bin k of BINS is the interval ((k - 1) / BINS, k / BINS].

    Args:
        probabilities: (N, K).
        labels: (N,) int64.
    """
    confidences, correct = probabilities.max(1), probabilities.argmax(1) == labels
    edges = np.arange(1, BINS) / BINS
    bins = np.searchsorted(edges, confidences, side="left")
    counts = np.bincount(bins, minlength=BINS)
    sums = (np.bincount(bins, weights, minlength=BINS) for weights in (confidences, correct))
    mean_confidences, accuracies = (total / np.maximum(counts, 1) for total in sums)
    return Reliability(counts, mean_confidences, accuracies)


def scale_probabilities(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Divide the logits behind some probabilities, (N, K), by a temperature, and return the new probabilities."""
    with np.errstate(divide="ignore"):
        logits = np.log(probabilities) / temperature
    return np.exp(log_softmax(logits, axis=1))


def compute_log_loss(logits: np.ndarray, labels: np.ndarray, temperature: float = 1.0) -> float:
    """Return the mean cross-entropy of logits, (N, K), divided by a temperature."""
    logarithms = log_softmax(logits / temperature, axis=1)
    return -float(logarithms[np.arange(len(labels)), labels].mean())


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """Return the temperature that minimises the cross-entropy of the scaled logits (Guo et al. 2017, ICML).

    Args:
        logits: (N, K) float64.
        labels: (N,) int64.

    Raises:
        UserError: if every prediction is right, so that the cross-entropy has no minimum.
    """
    if (logits.argmax(1) == labels).all():  # the lower the temperature, the better
        rule = f"determines no temperature: all of its {len(labels):,} images are classified correctly"
        remedy = "Calibration needs a validation split with some wrong predictions; use more images."
        raise UserError("the calibration", [Problem("the val split", rule, remedy=remedy)])
    from scipy import optimize  # takes half a second, and most commands do not need it

    found = optimize.minimize_scalar(
        lambda logarithm: compute_log_loss(logits, labels, np.exp(logarithm)),
        bounds=(np.log(LOWEST), np.log(HIGHEST)), method="bounded", options={"xatol": 1e-9},
    )  # fmt: skip
    return float(np.exp(found.x))
