"""Loss functions."""

from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from viewfinder.config.validate import NotNegative, Share
from viewfinder.data.batches import Batch
from viewfinder.errors import Problem, UserError

ClassWeights = Literal["balanced"] | list[Annotated[float, Field(ge=0, allow_inf_nan=False)]] | None


class _ClassWeighted(nn.Module):
    """Loss that weights each image by its true class, and is divided by the sum of the weights.

    Args:
        counts: number of training images of each class, (K,).
        class_weights: as for `make_class_weights`.

    Raises:
        UserError: if the number of weights is not K.
    """

    def __init__(self, counts: list[int], class_weights: ClassWeights):
        super().__init__()
        self.register_buffer("weights", make_class_weights(counts, class_weights), persistent=False)
        self.weights: Tensor | None

    def total_weight(self, labels: Tensor) -> float:
        """Return the sum of the weights of images with these labels, (N,); the loss is divided by it."""
        return float(len(labels)) if self.weights is None else self.weights[labels].double().sum().item()

    def average(self, losses: Tensor, labels: Tensor) -> Tensor:
        """Return the weighted mean of the losses of images, (N,), with these labels, (N,)."""
        if self.weights is None:
            return losses.mean()
        weights = self.weights.to(losses)[labels]
        return (losses * weights).sum() / weights.sum()


class CrossEntropy(_ClassWeighted):
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

    def __init__(self, counts: list[int], label_smoothing: Share = 0.0, class_weights: ClassWeights = None):
        super().__init__(counts, class_weights)
        self.label_smoothing = label_smoothing

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        if self.weights is None or not self.label_smoothing:
            weights = None if self.weights is None else self.weights.to(logits)
            return nn.functional.cross_entropy(logits, labels, weight=weights, label_smoothing=self.label_smoothing)
        losses = nn.functional.cross_entropy(logits, labels, label_smoothing=self.label_smoothing, reduction="none")
        return self.average(losses, labels)


class Focal(_ClassWeighted):
    """Focal loss of logits (N, K) and labels (N,): the mean of -(1 - p)^gamma log p over the images.

    p is the probability of the true class. With label smoothing, each class k adds its share of the target times
    -(1 - p_k)^gamma log p_k. Weights are applied as by `CrossEntropy`; for gamma=0, both losses are equal. Lin et al.
    2017, equations 4 and 5; there, the classes are independent, and the weights are called alpha.

    Args:
        counts: number of training images of each class, (K,); from the data.
        gamma: exponent that reduces the loss of images that are classified with confidence.
        label_smoothing: share of the target that is spread over all classes.
        class_weights: as for `CrossEntropy`.

    Raises:
        UserError: if the number of weights is not K.
    """

    def __init__(
        self,
        counts: list[int],
        gamma: NotNegative = 2.0,
        label_smoothing: Share = 0.0,
        class_weights: ClassWeights = None,
    ):
        super().__init__(counts, class_weights)
        self.gamma, self.label_smoothing = gamma, label_smoothing

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        log_p = logits.log_softmax(1)
        # The smallest number keeps the gradient of a power below 1 finite where a probability is 1.
        terms = -torch.expm1(log_p).clamp(max=-torch.finfo(log_p.dtype).tiny)
        terms = -(terms**self.gamma) * log_p
        losses = (1 - self.label_smoothing) * terms.gather(1, labels[:, None])[:, 0]
        if self.label_smoothing:
            losses = losses + self.label_smoothing * terms.mean(1)
        return self.average(losses, labels)


def compute_loss(loss: nn.Module, logits: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """Return the loss of a batch, (), and the label of each image that its prediction is compared with, (N,).

    The loss of mixed images is the mean of the losses for both labels, weighted by their shares (Zhang et al. 2017).
    It is exact with class weights, too: a batch has the same labels in another order as other labels, so that both
    losses are divided by the same sum of weights. Predictions are compared with the label of the larger share.
    """
    value = loss(logits, batch.labels)
    if batch.mixing is None:
        return value, batch.labels
    labels, share = batch.mixing
    mixed = share * value + (1 - share) * loss(logits, labels)
    return mixed, torch.where(share >= 0.5, batch.labels, labels)


def make_class_weights(counts: Sequence[int], class_weights: ClassWeights) -> Tensor | None:
    """Return a weight for each class, (K,) float32, or None for equal weights; see `CrossEntropy`.

    Raises:
        UserError: if the number of weights is not K.
    """
    if class_weights is None:
        return None
    if class_weights == "balanced":
        present = sum(count > 0 for count in counts)  # a class without training images gets no weight
        return torch.tensor([sum(counts) / (present * count) if count else 0.0 for count in counts])
    if len(class_weights) != len(counts):
        rule = f"must have one weight for each of the {len(counts)} classes, not {len(class_weights)}"
        remedy = f"List {len(counts)} weights, or set loss.class_weights=balanced."
        raise UserError("the configuration", [Problem("loss.class_weights", rule, str(class_weights), remedy)])
    return torch.tensor(class_weights, dtype=torch.float32)
