"""Mixtures of images and their labels: MixUp and CutMix."""

import math
import random

import torch
from torch import Tensor

from viewfinder.config.validate import Positive, Probability
from viewfinder.data.augmentations.pipeline import Context
from viewfinder.data.batches import Batch, Mixing


class MixUp:
    """Weighted mean of each image and another image of its batch, rounded to whole levels.

    One weight for each batch, from Beta(alpha, alpha). Zhang et al. 2017, "mixup: Beyond Empirical Risk Minimization"
    (arXiv 1710.09412). As in torchvision, the other image is the previous one of the batch, whose order is random.

    Args:
        alpha: parameter of the Beta distribution; a small one changes most images little.
        probability: probability for each batch. A batch that is mixed already stays as it is.
    """

    def __init__(self, alpha: Positive = 0.2, probability: Probability = 1.0):
        self.alpha, self.probability = alpha, probability

    def augment_batch(self, batch: Batch, context: Context) -> Batch:
        draw = random.Random(context.generator.initial_seed())  # on the CPU, so that a GPU need not be waited for
        if batch.mixing is not None or draw.random() >= self.probability:
            return batch
        share = draw.betavariate(self.alpha, self.alpha)
        levels = batch.pixels.float()
        mixed = levels.roll(1, 0).lerp_(levels, share).round_().byte()
        return batch._replace(pixels=mixed, mixing=_mix_labels(batch.labels, share))


class CutMix:
    """Rectangle of another image of the batch pasted into each image.

    One rectangle for each batch: its share of the area is from Beta(alpha, alpha), its centre is uniform, and parts
    outside the image are cut off. Yun et al. 2019, "CutMix" (arXiv 1905.04899). The other image is as in `MixUp`.

    Args:
        alpha: parameter of the Beta distribution; 1 is uniform.
        probability: probability for each batch. A batch that is mixed already stays as it is.
    """

    def __init__(self, alpha: Positive = 1.0, probability: Probability = 1.0):
        self.alpha, self.probability = alpha, probability

    def augment_batch(self, batch: Batch, context: Context) -> Batch:
        draw = random.Random(context.generator.initial_seed())
        if batch.mixing is not None or draw.random() >= self.probability:
            return batch
        height, width = batch.pixels.shape[-2:]
        side = math.sqrt(1 - draw.betavariate(self.alpha, self.alpha))
        rows, columns = _draw_range(height, side, draw), _draw_range(width, side, draw)
        mixed = batch.pixels.clone()
        mixed[..., rows, columns] = batch.pixels.roll(1, 0)[..., rows, columns]
        area = (rows.stop - rows.start) * (columns.stop - columns.start)
        return batch._replace(pixels=mixed, mixing=_mix_labels(batch.labels, 1 - area / (height * width)))


def _draw_range(length: int, share: float, draw: random.Random) -> slice:
    """Draw a range of pixels with a uniform centre, of an even length before it is cut off, as in the paper's code."""
    half, centre = int(share * length) // 2, draw.randrange(length)
    return slice(max(0, centre - half), min(length, centre + half))


def _mix_labels(labels: Tensor, share: float) -> Mixing:
    return Mixing(labels.roll(1, 0), torch.full((), share, device=labels.device))
