"""Batches and contexts for the tests of augmentations."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from viewfinder.data.augmentations.color import ColorJitter
from viewfinder.data.augmentations.crop import RandomCrop
from viewfinder.data.augmentations.erase import Cutout, RandomErasing
from viewfinder.data.augmentations.flip import AlternatingFlip, RandomHorizontalFlip
from viewfinder.data.augmentations.mix import CutMix, MixUp
from viewfinder.data.augmentations.pipeline import Pipeline
from viewfinder.data.augmentations.rand_augment import RandAugment, TrivialAugmentWide
from viewfinder.data.augmentations.resize import ProgressiveResizing
from viewfinder.data.batches import Batch
from viewfinder.data.preprocess import Preprocess

ALL: dict[str, Any] = {
    "crop": RandomCrop(2),
    "reflecting crop": RandomCrop(2, "reflect"),
    "flip": RandomHorizontalFlip(),
    "alternating_flip": AlternatingFlip(),
    "cutout": Cutout(4),
    "random_erasing": RandomErasing(),
    "noisy random_erasing": RandomErasing(fill="noise"),
    "color_jitter": ColorJitter(0.4, 0.4, 0.4, 0.2),
    "rand_augment": RandAugment(),
    "trivial_augment": TrivialAugmentWide(),
    "mixup": MixUp(1.0),
    "cutmix": CutMix(),
    "progressive_resizing": ProgressiveResizing(until=0.0),
}
OFF: dict[str, Any] = {
    "crop": RandomCrop(0),
    "flip": RandomHorizontalFlip(0.0),
    "cutout": Cutout(0),
    "improbable cutout": Cutout(4, probability=0.0),
    "random_erasing": RandomErasing(0.0),
    "color_jitter": ColorJitter(0.0, 0.0, 0.0, 0.0),
    "rand_augment": RandAugment(0),
    "mixup": MixUp(probability=0.0),
    "cutmix": CutMix(probability=0.0),
}


def make_batch(pixels: np.ndarray | Tensor, positions: Tensor | None = None, number: int = 0) -> Batch:
    """Return a batch of images (N, C, H, W), in channels_last as batches are, whose labels are their numbers."""
    pixels = torch.as_tensor(pixels).contiguous(memory_format=torch.channels_last)
    numbers = torch.arange(len(pixels))
    return Batch(pixels, numbers, numbers if positions is None else positions, number)


def augment(
    augmentation: Any, batch: Batch, epoch: int = 0, seed: int = 0, mean: tuple[float, ...] = (0.0,), epochs: int = 10
) -> Batch:
    side = batch.pixels.shape[-1]
    return Pipeline({"it": augmentation}, seed, Preprocess(side, mean)).at(epoch, epochs)(batch)
