"""Cross-entropy and balanced class weights equal their formulas and scikit-learn."""

import numpy as np
import pytest
import torch
from conftest import softmax
from sklearn.utils.class_weight import compute_class_weight

from viewfinder.errors import UserError
from viewfinder.training.losses import CrossEntropy


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weights", [None, [0.5, 2.0, 0.0, 1.25]])
def test_cross_entropy_is_the_formula(smoothing: float, weights: list[float] | None) -> None:
    logits, labels = np.random.default_rng(0).normal(size=(20, 4)), np.arange(20) % 4
    w = np.ones(4) if weights is None else np.array(weights)
    target = np.full((20, 4), smoothing / 4) + (1 - smoothing) * np.eye(4)[labels]
    expected = -(target * w * np.log(softmax(logits))).sum() / w[labels].sum()
    loss = CrossEntropy([5, 5, 5, 5], smoothing, weights)(torch.from_numpy(logits), torch.from_numpy(labels))
    assert loss.item() == pytest.approx(expected, rel=1e-12)


def test_balanced_class_weights_are_scikit_learns() -> None:
    counts = [50, 3, 17, 30]
    labels = np.repeat(np.arange(4), counts)
    expected = compute_class_weight("balanced", classes=np.arange(4), y=labels)
    found = CrossEntropy(counts, class_weights="balanced").weights
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_as_many_class_weights_as_classes_are_wanted() -> None:
    with pytest.raises(UserError, match=r"one weight for each of the 3 classes, not 2"):
        CrossEntropy([1, 2, 3], class_weights=[1.0, 2.0])
