"""Intervals of accuracy and macro F1 against SciPy and scikit-learn."""

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import f1_score

from viewfinder.evaluation.intervals import DRAWS, bootstrap_f1, wilson_interval


@pytest.mark.parametrize(("correct", "count"), [(0, 1), (1, 1), (0, 10), (10, 10), (37, 60), (9_312, 10_000)])
def test_the_interval_of_an_accuracy_is_scipys(correct: int, count: int) -> None:
    expected = binomtest(correct, count).proportion_ci(0.95, method="wilson")
    np.testing.assert_allclose(wilson_interval(correct, count), expected, atol=1e-12)


@pytest.mark.parametrize("missing", [False, True])
def test_the_interval_of_f1_is_that_of_images_drawn_with_replacement(missing: bool) -> None:
    rng = np.random.default_rng(1)
    true = rng.integers(0, 3, 200)
    predicted = np.where(rng.random(200) < 0.8, true, rng.integers(0, 3, 200))
    size = 4 if missing else 3
    confusion = np.zeros((size, size), dtype=np.int64)
    np.add.at(confusion, (true, predicted), 1)
    samples = (rng.integers(0, 200, 200) for _ in range(DRAWS))
    scores = [f1_score(true[s], predicted[s], average="macro") for s in samples]
    np.testing.assert_allclose(bootstrap_f1(confusion), np.percentile(scores, [2.5, 97.5]), atol=0.01)
    assert bootstrap_f1(confusion) == bootstrap_f1(confusion)


def test_a_class_that_is_only_predicted_counts_as_zero_in_every_draw() -> None:
    confusion = np.array([[9, 0, 1], [0, 10, 0], [0, 0, 0]])
    assert bootstrap_f1(confusion)[1] <= 2 / 3


def test_a_perfect_classification_has_an_f1_of_one() -> None:
    assert bootstrap_f1(np.diag([3, 4, 5])) == (1.0, 1.0)
