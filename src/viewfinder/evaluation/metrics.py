"""Metrics of a split's logits, computed by torchmetrics over all images at once."""

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

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
"""Functions of predicted classes (N,), labels (N,) and the number of classes, by name."""


SAMPLES = 16
"""Images of a split whose logits are always kept, and whose predictions are shown after each epoch."""


class Predictions(NamedTuple):
    """Logits, (N, K) float64 on the CPU, and labels, (N,) int64, in the order of the split."""

    logits: Tensor
    labels: Tensor

    @property
    def predicted(self) -> Tensor:
        """(N,) int64."""
        return self.logits.argmax(1)

    def probabilities(self) -> Tensor:
        """Return the softmax of the logits, (N, K) float64."""
        return self.logits.softmax(1)


class Tally(NamedTuple):
    """Predicted classes and loss of a split whose logits would take too much memory, in the order of the split."""

    logits: Tensor
    """(SAMPLES, K) float64, of the first images"""
    predicted: Tensor
    """(N,) int64"""
    labels: Tensor
    """(N,) int64"""
    loss: float
    """mean over the images"""
    weight: float
    """number of images, or sum of their weights, by which `loss` is divided"""

    def __add__(self, later: "Tally") -> "Tally":  # type: ignore[override]
        """Join the tallies of two parts of a split."""
        weight = self.weight + later.weight
        total = sum(part.loss * part.weight for part in (self, later) if part.weight)
        return Tally(
            torch.cat([self.logits, later.logits])[:SAMPLES],
            torch.cat([self.predicted, later.predicted]),
            torch.cat([self.labels, later.labels]),
            total / weight if weight else math.nan,
            weight,
        )


def tally(predictions: Predictions, loss: float, weight: float) -> Tally:
    """Return the tally of a part of a split."""
    return Tally(predictions.logits[:SAMPLES].clone(), predictions.predicted, predictions.labels, loss, weight)


def compute_averages(predictions: Predictions | Tally) -> dict[str, float]:
    """Compute accuracy over images, and F1, precision and recall as macro averages over the classes that occur."""
    predicted, classes = predictions.predicted, predictions.logits.shape[1]
    return {name: round_metric(metric(predicted, predictions.labels, classes)) for name, metric in METRICS.items()}


def count_confusion(predictions: Predictions | Tally) -> Tensor:
    """Count images by true class (rows) and predicted class (columns): (K, K) int64."""
    return multiclass_confusion_matrix(predictions.predicted, predictions.labels, predictions.logits.shape[1])


def round_metric(value: Tensor) -> float | int:
    """Round to seven digits, the precision of torchmetrics' float32."""
    return round(value.item(), 7)
