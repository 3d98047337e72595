"""Intervals of each class's precision and recall."""

import numpy as np
import pytest
from scipy.stats import binomtest

from viewfinder.evaluation.confusion import compute_class_intervals


def test_intervals_of_precision_and_recall_are_those_of_their_images() -> None:
    counts = np.array([[8, 2, 0], [1, 3, 0], [0, 0, 0]])
    found = compute_class_intervals(counts, ["a", "b", "c"])
    for name, score, correct, count in (("a", "precision", 8, 9), ("a", "recall", 8, 10), ("b", "recall", 3, 4)):
        expected = binomtest(correct, count).proportion_ci(0.95, method="wilson")
        assert found[name][score] == pytest.approx(tuple(expected))
    assert found["c"] == {"precision": (0, 1), "recall": (0, 1)}
