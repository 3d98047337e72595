"""Scores of one split, as scores.json stores them."""

from typing import Any

import torch
from torchmetrics.functional.classification import multiclass_f1_score, multiclass_precision, multiclass_recall

from viewfinder.evaluation.metrics import Predictions, compute_averages, count_confusion, round_metric
from viewfinder.evaluation.ranking import score_ranking
from viewfinder.evaluation.tally import Evaluated


def score_predictions(predictions: Evaluated, loss: float, class_names: list[str]) -> dict[str, Any]:
    """Return loss, averaged metrics, metrics per class and the confusion matrix of one split.

    With logits, scores of the ranking of classes are added, such as top-5 accuracy.
    """
    predicted, labels, classes = predictions.predicted, predictions.labels, predictions.logits.shape[1]
    columns = {
        "f1": multiclass_f1_score(predicted, labels, classes, average="none"),
        "precision": multiclass_precision(predicted, labels, classes, average="none"),
        "recall": multiclass_recall(predicted, labels, classes, average="none"),
        "pictures": torch.bincount(labels, minlength=classes),
    }
    per_class = {
        name: {column: round_metric(values[index]) for column, values in columns.items()}
        for index, name in enumerate(class_names)
    }
    return {
        "loss": loss,
        **compute_averages(predictions),
        **(score_ranking(predictions) if isinstance(predictions, Predictions) else {}),
        "pictures": len(labels),
        "per_class": per_class,
        "confusion": count_confusion(predictions).tolist(),
    }
