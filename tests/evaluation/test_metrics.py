"""Metrics equal scikit-learn's."""

import numpy as np
import pytest
import sklearn.metrics
import torch
from conftest import some_predictions

from viewfinder.evaluation.metrics import METRICS, Predictions, compute_averages, count_confusion
from viewfinder.evaluation.score import score_predictions


@pytest.mark.parametrize("never", [(), (3,), (0, 5)])
def test_scores_are_scikit_learns(never: tuple[int, ...]) -> None:
    names = [f"class {n}" for n in range(6)]
    predictions = some_predictions(200, 6, seed=len(never), never=never)
    true, predicted = predictions.labels.numpy(), predictions.logits.numpy().argmax(1)
    found = score_predictions(predictions, 1.5, names)
    assert (found["loss"], found["pictures"]) == (1.5, 200)
    assert found["accuracy"] == pytest.approx(sklearn.metrics.accuracy_score(true, predicted), abs=1e-6)
    for name, of in (
        ("f1", sklearn.metrics.f1_score),
        ("precision", sklearn.metrics.precision_score),
        ("recall", sklearn.metrics.recall_score),
    ):
        assert found[name] == pytest.approx(of(true, predicted, average="macro", zero_division=0), abs=1e-6)
        each = of(true, predicted, average=None, labels=range(6), zero_division=0)
        assert [found["per_class"][n][name] for n in names] == pytest.approx(each.tolist(), abs=1e-6)
    assert [found["per_class"][n]["pictures"] for n in names] == np.bincount(true, minlength=6).tolist()
    expected = sklearn.metrics.confusion_matrix(true, predicted, labels=range(6))
    assert found["confusion"] == expected.tolist()
    assert compute_averages(predictions) == {name: found[name] for name in METRICS}


def test_a_class_that_is_predicted_but_never_true_counts_as_in_scikit_learn() -> None:
    labels = torch.tensor([0, 0, 1, 1])
    predictions = Predictions(torch.eye(3)[torch.tensor([0, 2, 1, 1])].double(), labels)
    found = compute_averages(predictions)
    for name, of in (("f1", sklearn.metrics.f1_score), ("recall", sklearn.metrics.recall_score)):
        expected = of(labels, predictions.logits.argmax(1), average="macro", zero_division=0)
        assert found[name] == pytest.approx(expected, abs=1e-6)


def test_confusion_rows_are_true_classes() -> None:
    labels, predicted = torch.tensor([0, 0, 0, 1, 2]), torch.tensor([1, 1, 0, 1, 0])
    counts = count_confusion(Predictions(torch.eye(3)[predicted].double(), labels))
    assert counts.tolist() == [[1, 2, 0], [0, 1, 0], [1, 0, 0]]


def test_accuracy_is_the_share_of_pictures_to_seven_digits() -> None:
    labels = torch.zeros(60_000, dtype=torch.int64)
    predicted = (torch.arange(60_000) < 7).long()
    found = compute_averages(Predictions(torch.eye(2)[predicted].double(), labels))
    assert found["accuracy"] == pytest.approx(59_993 / 60_000, abs=1e-7)
