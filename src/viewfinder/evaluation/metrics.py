"""Metrics of a split's logits, computed by torchmetrics over all images at once."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from torch import Tensor
from torchmetrics.functional.classification import (
    multiclass_accuracy,
    multiclass_confusion_matrix,
    multiclass_f1_score,
    multiclass_precision,
    multiclass_recall,
)

if TYPE_CHECKING:
    from viewfinder.evaluation.tally import Evaluated

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

    @property
    def predicted(self) -> Tensor:
        """(N,) int64."""
        return self.logits.argmax(1)

    def probabilities(self) -> Tensor:
        """Return the softmax of the logits, (N, K) float64."""
        return self.logits.softmax(1)


def compute_averages(predictions: "Evaluated") -> dict[str, float]:
    """Compute accuracy over images, and F1, precision and recall as macro averages over the classes that occur."""
    predicted, classes = predictions.predicted, predictions.logits.shape[1]
    return {name: round_metric(metric(predicted, predictions.labels, classes)) for name, metric in METRICS.items()}


def count_confusion(predictions: "Evaluated") -> Tensor:
    """Count images by true class (rows) and predicted class (columns): (K, K) int64."""
    return multiclass_confusion_matrix(predictions.predicted, predictions.labels, predictions.logits.shape[1])


def round_metric(value: Tensor) -> float | int:
    """Round to seven digits, the precision of torchmetrics' float32."""
    return round(value.item(), 7)
