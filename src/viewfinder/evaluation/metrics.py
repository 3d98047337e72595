"""Metrics of a split's logits, computed by torchmetrics over all images at once."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from torch import Tensor
from torchmetrics.functional.classification import (
    multiclass_accuracy,
    multiclass_confusion_matrix,
    multiclass_f1_score,
    multiclass_precision,
    multiclass_recall,
)

METRICS: dict[str, Callable[[Tensor, Tensor, int], Tensor]] = {
    "accuracy": partial(multiclass_accuracy, average="micro"),
    "f1": partial(multiclass_f1_score, average="macro"),
    "precision": partial(multiclass_precision, average="macro"),
    "recall": partial(multiclass_recall, average="macro"),
}
"""Functions of predicted classes (N,), labels (N,) and the number of classes, by name."""


class Predictions(NamedTuple):
    """Logits, (N, K) float64 on the CPU, and labels, (N,) int64, in the order of the split."""

    logits: Tensor
    labels: Tensor

    def probabilities(self) -> Tensor:
        """Return the softmax of the logits, (N, K) float64."""
        return self.logits.softmax(1)


def compute_averages(predictions: Predictions) -> dict[str, float]:
    """Compute accuracy over images, and F1, precision and recall as macro averages over the classes that occur."""
    logits, labels = predictions
    predicted, classes = logits.argmax(1), logits.shape[1]
    return {name: round_metric(metric(predicted, labels, classes)) for name, metric in METRICS.items()}


def count_confusion(predictions: Predictions) -> Tensor:
    """Count images by true class (rows) and predicted class (columns): (K, K) int64."""
    logits, labels = predictions
    return multiclass_confusion_matrix(logits.argmax(1), labels, logits.shape[1])


def round_metric(value: Tensor) -> float | int:
    """Round to seven digits, the precision of torchmetrics' float32."""
    return round(value.item(), 7)
