"""Loss functions."""

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from viewfinder.config.validate import Share
from viewfinder.errors import Problem, UserError


class CrossEntropy(nn.Module):
    """Cross entropy of logits (N, K) and labels (N,), each image weighted by its true class.

    The weighted mean is divided by the sum of the weights, as by torch.nn.CrossEntropyLoss. With label smoothing, torch
    would weight each class's share of the target by that class, so that a rare class's weight counts in every image.

    Args:
        counts: number of training images of each class, (K,); from the data.
        label_smoothing: share of the target that is spread over all classes (Szegedy et al. 2016).
        class_weights: None for equal weights, "balanced" for N / (K * count) as in scikit-learn, over the K classes
            with training images, or a number for each class.

    Raises:
        UserError: if the number of weights is not K.
    """

    def __init__(
        self,
        counts: list[int],
        label_smoothing: Share = 0.0,
        class_weights: Literal["balanced"] | list[Annotated[float, Field(ge=0, allow_inf_nan=False)]] | None = None,
    ):
        super().__init__()
        self.label_smoothing = label_smoothing
        if class_weights == "balanced":
            present = sum(count > 0 for count in counts)  # a class without training images gets no weight
            weights = torch.tensor([sum(counts) / (present * count) if count else 0.0 for count in counts])
        else:
            weights = None if class_weights is None else torch.tensor(class_weights, dtype=torch.float32)
        if weights is not None and len(weights) != len(counts):
            rule = f"must have one weight for each of the {len(counts)} classes, not {len(weights)}"
            raise UserError(
                "the configuration",
                [
                    Problem(
                        "loss.class_weights",
                        rule,
                        str(class_weights),
                        f"List {len(counts)} weights, or set loss.class_weights=balanced.",
                    )
                ],
            )
        self.register_buffer("weights", weights, persistent=False)
        self.weights: Tensor | None

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        if self.weights is None or not self.label_smoothing:
            weights = None if self.weights is None else self.weights.to(logits)
            return nn.functional.cross_entropy(logits, labels, weight=weights, label_smoothing=self.label_smoothing)
        losses = nn.functional.cross_entropy(logits, labels, label_smoothing=self.label_smoothing, reduction="none")
        weights = self.weights.to(losses)[labels]
        return (losses * weights).sum() / weights.sum()

    def total_weight(self, labels: Tensor) -> float:
        """Return the sum of the weights of images with these labels, (N,); the loss is divided by it."""
        return float(len(labels)) if self.weights is None else self.weights[labels].double().sum().item()
