"""Calibration error and temperature against other libraries."""

import numpy as np
import pytest
import torch
from conftest import raises_user_error, softmax
from torchmetrics.functional.classification import multiclass_calibration_error

from viewfinder.evaluation.calibration import (
    HIGHEST,
    compute_log_loss,
    fit_temperature,
    measure_reliability,
    scale_probabilities,
)

NETCAL_ERROR = 0.2759680723623259
"""netcal.metrics.ECE(15) of netcal 1.4.0 for the logits of `draw_logits`."""
SKLEARN_TEMPERATURE = 2.487493627533152
"""Temperature of sklearn.calibration in scikit-learn 1.9.1, method "temperature", for the same logits."""


def draw_logits(count: int = 400, classes: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Return overconfident logits, (count, classes), and labels; the same on every machine."""
    places = np.arange(count * classes).reshape(count, classes)
    logits = 6 * np.sin(places * 12.9898) + 2 * np.cos(places * 4.1414)
    labels = (logits + 5 * np.sin(places * 78.233)).argmax(1)
    return logits, labels


def test_the_calibration_error_is_that_of_torchmetrics_and_netcal() -> None:
    logits, labels = draw_logits()
    probabilities = softmax(logits)
    found = measure_reliability(probabilities, labels)
    expected = multiclass_calibration_error(torch.from_numpy(probabilities), torch.from_numpy(labels), 4, n_bins=15)
    assert found.error == pytest.approx(expected.item(), abs=1e-6)
    assert found.error == pytest.approx(NETCAL_ERROR, abs=1e-6)
    assert found.counts.sum() == 400
    assert (found.counts * found.accuracies).sum() == (logits.argmax(1) == labels).sum()


def test_a_bin_includes_its_upper_edge() -> None:
    confidences = np.array([1 / 3, 0.4, 0.7, 1.0])
    probabilities = np.stack([confidences, *[(1 - confidences) / 3] * 3], axis=1)
    found = measure_reliability(probabilities, np.zeros(4, dtype=np.int64))
    assert np.flatnonzero(found.counts).tolist() == [4, 5, 10, 14]
    assert found.error == pytest.approx(np.mean(1 - confidences))


def test_the_temperature_has_the_lowest_cross_entropy() -> None:
    logits, labels = draw_logits()
    temperature = fit_temperature(logits, labels)
    assert temperature == pytest.approx(SKLEARN_TEMPERATURE, rel=1e-5)
    probabilities = softmax(logits / temperature)
    # At the minimum, the mean logit of the labels is the expected logit.
    slope = logits[np.arange(400), labels] - (probabilities * logits).sum(1)
    assert slope.mean() == pytest.approx(0, abs=1e-5)
    assert compute_log_loss(logits, labels, temperature) < compute_log_loss(logits, labels)
    expected = -np.log(probabilities[np.arange(400), labels]).mean()
    assert compute_log_loss(logits, labels, temperature) == pytest.approx(expected)


def test_scaled_probabilities_are_those_of_scaled_logits() -> None:
    logits, _ = draw_logits()
    np.testing.assert_allclose(scale_probabilities(softmax(logits), 2.5), softmax(logits / 2.5), rtol=1e-9)
    assert scale_probabilities(np.array([[1.0, 0.0]]), 2.0).tolist() == [[1.0, 0.0]]


def test_a_split_without_mistakes_determines_no_temperature() -> None:
    logits = np.eye(3)[[0, 1, 2, 0]]
    with raises_user_error("determines no temperature: all of its 4 images are classified correctly"):
        fit_temperature(logits, np.array([0, 1, 2, 0]))
    # Without a right prediction, equal probabilities are best.
    assert fit_temperature(logits, np.array([1, 2, 0, 1])) == pytest.approx(HIGHEST, rel=1e-3)
