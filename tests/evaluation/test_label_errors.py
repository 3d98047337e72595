"""Label errors are those of the paper's method, and of cleanlab."""

import numpy as np
import pytest
from conftest import softmax

from viewfinder.evaluation.label_errors import estimate_joint, find_label_errors

PROBABLE_SECOND = np.array([0.1, 0.2, 0.8, 0.5, 0.9, 0.7, 0.1])
CLEANLAB = [33, 39, 41, 85, 98, 117, 178, 183, 186, 194, 196, 212, 241, 279]
"""find_label_issues(labels, probabilities, filter_by="prune_by_noise_rate") of cleanlab 2.9.0 for noisy labels."""
TWO_CLASSES = np.stack([1 - PROBABLE_SECOND, PROBABLE_SECOND], axis=1)
LABELS = np.array([0, 0, 0, 0, 1, 1, 1])


def test_the_joint_counts_images_above_the_mean_probability_of_their_class_and_keeps_the_sizes_of_classes() -> None:
    # Means: 0.6 of the first class, 0.567 of the second. The fourth image is above neither.
    np.testing.assert_allclose(estimate_joint(TWO_CLASSES, LABELS), [[8 / 3, 4 / 3], [1, 2]])


def test_the_errors_are_those_with_the_largest_margins() -> None:
    errors = find_label_errors(TWO_CLASSES, LABELS)
    assert errors.positions.tolist() == [6, 2]
    assert errors.suggested.tolist() == [0, 1]
    assert errors.margins == pytest.approx([0.8, 0.6])


def test_a_class_without_images_is_never_suggested() -> None:
    probabilities = np.array([[0.3, 0.1, 0.6], [0.6, 0.2, 0.2], [0.2, 0.7, 0.1]])
    errors = find_label_errors(probabilities, np.array([0, 0, 1]))
    assert errors.positions.tolist() == []


def draw_noisy_labels() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw probabilities (300, 4), labels with errors, and the true classes."""
    rng = np.random.default_rng(5)
    true = rng.integers(0, 4, 300)
    probabilities = softmax(rng.normal(0, 1, (300, 4)) + 3 * np.eye(4)[true])
    labels = np.where(rng.random(300) < 0.1, rng.integers(0, 4, 300), true)
    return probabilities, labels, true


def test_the_errors_of_noisy_labels_are_cleanlabs() -> None:
    probabilities, labels, _ = draw_noisy_labels()
    assert sorted(find_label_errors(probabilities, labels).positions.tolist()) == CLEANLAB
