"""Test-time augmentation: the average of a network's answers to several views of an image."""

import contextlib
import math
from collections.abc import Iterator
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from viewfinder.config.instantiate import STAGE
from viewfinder.config.validate import Whole
from viewfinder.data.preprocess import get_preprocess
from viewfinder.errors import Problem, UserError

ATTRIBUTE = "test_time_views"
"""Attribute of a network that holds its AveragedViews."""


class AveragedViews:
    """Average over an image and its mirror image, and over copies of both that are shifted along the diagonal.

    Shifted views, one towards each end of the diagonal, together weigh as much as unshifted ones: with `mirror` and
    `translate`, these are the six views of airbench (Jordan 2024, arXiv 2404.00498).

    Args:
        mirror: add the mirror image of each view.
        translate: pixels of the shifts, at the size of the network's input; the border is filled by reflection. 0 adds
            no shifted views.
        average: average "logits", or "probabilities", whose logarithms are then the logits.
        every_epoch: also average in the validation after each epoch; False does so only in the scores after training.
    """

    def __init__(
        self,
        mirror: bool = True,
        translate: Whole = 0,
        average: Literal["logits", "probabilities"] = "logits",
        every_epoch: bool = True,
    ):
        if not (mirror or translate):
            rule, remedy = "leaves a single view with tta.translate=0", "Use tta=none."
            raise UserError(STAGE, [Problem("tta.mirror", rule, "false", remedy)])
        self.mirror, self.translate, self.average, self.every_epoch = mirror, translate, average, every_epoch

    def __call__(self, network: nn.Module, images: Tensor) -> Tensor:
        """Map float images (N, C, H, W) to averaged logits (N, K)."""
        answers = [(network(view), weight) for view, weight in self.iterate_views(images)]
        if self.average == "logits":
            return torch.stack([weight * logits for logits, weight in answers]).sum(0)
        return torch.stack([logits.log_softmax(1) + math.log(weight) for logits, weight in answers]).logsumexp(0)

    def iterate_views(self, images: Tensor) -> Iterator[tuple[Tensor, float]]:
        """Yield each view of a batch with its weight, first the images themselves; the weights add up to 1."""
        share = 0.5 if self.mirror else 1.0
        for view, weight in self._iterate_shifts(images):
            yield view, share * weight
            if self.mirror:
                yield view.flip(-1), share * weight

    def _iterate_shifts(self, images: Tensor) -> Iterator[tuple[Tensor, float]]:
        yield images, 0.5 if self.translate else 1.0
        if self.translate:
            height, width = images.shape[-2:]
            padded = pad(images, [self.translate] * 4, mode="reflect")
            for start in (0, 2 * self.translate):
                yield padded[..., start : start + height, start : start + width], 0.25

    def describe(self) -> str:
        """Describe the views in a few words: 'mirror, translate 1, mean of logits'."""
        views = ["mirror"] * self.mirror + [f"translate {self.translate}"] * bool(self.translate)
        return ", ".join([*views, f"mean of {self.average}"])


def set_views(network: nn.Module, views: AveragedViews | None) -> None:
    """Let a network be evaluated on several views of each image; None for the image alone.

    Raises:
        UserError: if its images are too small for the shifts.
    """
    side = get_preprocess(network).image_size
    if views is not None and views.translate >= side:
        rule, remedy = f"must be less than the side of the network's input, {side} pixels", "Usual are 1 and 2."
        raise UserError(STAGE, [Problem("tta.translate", rule, str(views.translate), remedy)])
    setattr(network, ATTRIBUTE, views)


def get_views(network: nn.Module) -> AveragedViews | None:
    """Return the views on which a network is evaluated; None for the image alone."""
    return getattr(network, ATTRIBUTE, None)


def describe_views(network: nn.Module) -> str:
    """Describe the views on which a network is evaluated; '' for the image alone."""
    views = get_views(network)
    return "" if views is None else views.describe()


def classify(network: nn.Module, images: Tensor) -> Tensor:
    """Map float images (N, C, H, W) to logits (N, K), in evaluation mode averaged over the views of the network."""
    views: Any = None if network.training else get_views(network)
    return network(images) if views is None else views(network, images)


def validation_views(network: nn.Module, is_training: bool) -> contextlib.AbstractContextManager[None]:
    """Evaluate a network within the block on the views for a validation, which may be one while it is trained."""
    views = get_views(network)
    is_single = is_training and views is not None and not views.every_epoch
    return single_view(network) if is_single else contextlib.nullcontext()


@contextlib.contextmanager
def single_view(network: nn.Module) -> Iterator[None]:
    """Evaluate a network on the images alone within the block."""
    views = get_views(network)
    setattr(network, ATTRIBUTE, None)
    try:
        yield
    finally:
        setattr(network, ATTRIBUTE, views)
