"""Scores of the ranking of classes by probability: top-k accuracy, AUROC, average precision, calibration error."""

import torch.nn.functional as F
from torchmetrics.functional.classification import (
    multiclass_accuracy,
    multilabel_auroc,
    multilabel_average_precision,
)

from viewfinder.evaluation.calibration import measure_reliability
from viewfinder.evaluation.metrics import Predictions, round_metric

TOP = (3, 5)
"""Numbers of classes of which one must be the true class."""
MAX_SORTED = 10_000_000
"""Probabilities up to which AUROC and average precision are computed, which sort those of each class."""


def score_ranking(predictions: Predictions) -> dict[str, float]:
    """Return top-k accuracies, calibration error, and AUROC and average precision over the classes that occur.

    AUROC and average precision are one-vs-rest, as macro averages; they need two classes that occur.

    Args:
        predictions: logits and labels of a split.
    """
    probabilities, labels = predictions.probabilities(), predictions.labels
    if not len(labels) or not probabilities.isfinite().all():
        return {}
    classes = probabilities.shape[1]
    scores = {
        f"top{k}": round_metric(multiclass_accuracy(probabilities, labels, classes, average="micro", top_k=k))
        for k in TOP
        if k < classes
    }
    scores["calibration_error"] = round(measure_reliability(probabilities.numpy(), labels.numpy()).error, 7)
    occurring = labels.unique()
    if len(occurring) > 1 and probabilities.numel() <= MAX_SORTED:
        chosen, is_true = probabilities[:, occurring], F.one_hot(labels, classes)[:, occurring]
        count = len(occurring)
        scores["auroc"] = round_metric(multilabel_auroc(chosen, is_true, count, average="macro"))
        precision = multilabel_average_precision(chosen, is_true, count, average="macro")
        scores["average_precision"] = round_metric(precision)
    return {name: float(score) for name, score in scores.items()}
