"""Tally of a split whose logits would take too much memory: enough for its metrics and its loss."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from viewfinder.evaluation.metrics import Predictions

SAMPLES = 16
"""Number of images of a split that always keep their logits; their predictions are shown after each epoch."""


class Tally(NamedTuple):
    """Predicted classes and loss of a split, in the order of the split."""

    logits: Tensor
    """(SAMPLES, K) float64, of the first images"""
    predicted: Tensor
    """(N,) int64"""
    labels: Tensor
    """(N,) int64"""
    loss: float
    """mean over the images"""
    weight: float
    """divisor of `loss`: the number of images, or the sum of their weights"""

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


Evaluated = Predictions | Tally
"""Result of an evaluation of a split."""


def tally(predictions: Predictions, loss: float, weight: float) -> Tally:
    """Return the tally of a part of a split."""
    return Tally(predictions.logits[:SAMPLES].clone(), predictions.predicted, predictions.labels, loss, weight)
