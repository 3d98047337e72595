"""Likely label errors among classified images, by confident learning; without torch.

From Northcutt, Jiang and Chuang 2021, "Confident Learning: Estimating Uncertainty in Dataset Labels", JAIR 70.
"""

from typing import NamedTuple

import numpy as np


class LabelErrors(NamedTuple):
    """Likely label errors, the likeliest first.

    Args:
        positions: indices of the images, (M,).
        suggested: likely class of each, (M,).
        margins: probability of that class minus the probability of the label, (M,).
    """

    positions: np.ndarray
    suggested: np.ndarray
    margins: np.ndarray


def estimate_joint(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Estimate how many images have each label and each true class, (K, K): section 3.1 of the paper.

    A class is a candidate for an image if its probability is at least its mean over the images labelled with it. The
    image counts towards its most probable candidate.

    Args:
        probabilities: out-of-sample probabilities, (N, K).
        labels: labels, (N,) int64.
    """
    count = probabilities.shape[1]
    sizes = np.bincount(labels, minlength=count)
    totals = np.bincount(labels, probabilities[np.arange(len(labels)), labels], minlength=count)
    thresholds = np.where(sizes > 0, totals / np.maximum(sizes, 1), np.inf)
    confident = np.where(probabilities >= thresholds, probabilities, -1.0)
    is_confident = confident.max(1) >= 0
    joint = np.zeros((count, count))
    np.add.at(joint, (labels[is_confident], confident[is_confident].argmax(1)), 1)
    np.fill_diagonal(joint, joint.diagonal().clip(min=1))
    joint *= sizes[:, None] / joint.sum(1, keepdims=True)
    return joint


def find_label_errors(probabilities: np.ndarray, labels: np.ndarray) -> LabelErrors:
    """Find likely label errors: of each label and true class as many images as estimated, with the largest margins.

    This is "prune by noise rate", section 3.2 of the paper. Images whose label is the most probable class are left out.

    Args:
        probabilities: out-of-sample probabilities, (N, K).
        labels: labels, (N,) int64.
    """
    counts = _round_rows(estimate_joint(probabilities, labels))
    rows = np.arange(len(labels))
    own = probabilities[rows, labels]
    predicted = probabilities.argmax(1)
    found = np.zeros(len(labels), dtype=bool)
    for label, true in zip(*np.nonzero(counts), strict=True):
        if label != true:
            members = np.flatnonzero(labels == label)
            margins = probabilities[members, true] - own[members]
            found[members[np.argsort(-margins, kind="stable")[: counts[label, true]]]] = True
    positions = np.flatnonzero(found & (predicted != labels))
    margins = probabilities[positions, predicted[positions]] - own[positions]
    order = np.argsort(-margins, kind="stable")
    return LabelErrors(positions[order], predicted[positions][order], margins[order])


def _round_rows(joint: np.ndarray) -> np.ndarray:
    """Round to whole numbers by largest remainders, so that the sums over rows do not change."""
    counts = np.floor(joint + 1e-9).astype(int)
    missing = np.rint(joint.sum(1)).astype(int) - counts.sum(1)
    ranks = np.argsort(np.argsort(joint - counts, axis=1, kind="stable"), axis=1)
    return counts + (ranks >= joint.shape[1] - missing[:, None])
