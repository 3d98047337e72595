"""What a split's logits are worth, by torchmetrics; each number counts pictures, never batches."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
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
"""Name -> function of predicted classes (N,), labels (N,) and the number of classes."""


class Predictions(NamedTuple):
    """A split's logits, (N, K) float64 on the CPU, and labels, (N,) int64, in the split's own order."""

    logits: Tensor
    labels: Tensor

    def probabilities(self) -> Tensor:
        """(N, K) float64"""
        return self.logits.softmax(1)


def averaged(predictions: Predictions) -> dict[str, float]:
    """Accuracy over pictures; F1, precision and recall as macro averages over the classes that occur."""
    logits, labels = predictions
    classes = logits.shape[1]
    predicted = logits.argmax(1)
    return {name: _number(metric(predicted, labels, classes)) for name, metric in METRICS.items()}


def confusion(predictions: Predictions) -> Tensor:
    """Counts, (K, K) int64: rows are true classes, columns predicted ones."""
    logits, labels = predictions
    return multiclass_confusion_matrix(logits.argmax(1), labels, logits.shape[1])


def _number(value: Tensor) -> float | int:
    """To the seven digits that torchmetrics' float32 holds."""
    return round(value.item(), 7)


def scores(predictions: Predictions, loss: float, class_names: list[str]) -> dict[str, Any]:
    """All that scores.json says of one split."""
    logits, labels = predictions
    predicted, classes = logits.argmax(1), logits.shape[1]
    columns = {
        "f1": multiclass_f1_score(predicted, labels, classes, average="none"),
        "precision": multiclass_precision(predicted, labels, classes, average="none"),
        "recall": multiclass_recall(predicted, labels, classes, average="none"),
        "pictures": torch.bincount(labels, minlength=classes),
    }
    per_class = {
        name: {column: _number(values[index]) for column, values in columns.items()}
        for index, name in enumerate(class_names)
    }
    return {
        "loss": loss,
        **averaged(predictions),
        "pictures": len(labels),
        "per_class": per_class,
        "confusion": confusion(predictions).tolist(),
    }
