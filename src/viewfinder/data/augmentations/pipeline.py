"""Augmentations of a training batch, applied one after the other."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from torch import Generator

from viewfinder.data.batches import Batch
from viewfinder.data.preprocess import Preprocess
from viewfinder.data.seeding import make_generator


class Context(NamedTuple):
    """Facts besides the batch that an augmentation may depend on."""

    seed: int
    epoch: int
    """from 0"""
    max_epochs: int
    """epochs of the whole training; below 1 if it has no end"""
    preprocess: Preprocess
    """preprocessing of the network"""
    generator: Generator
    """source of random numbers on the batch's device, for this batch and augmentation"""


class Pipeline:
    """Sequence of augmentations.

    An augmentation is either a callable that maps (pixels, generator) to pixels, or has a method `augment_batch` that
    maps (Batch, Context) to Batch. Its random numbers follow from (seed, epoch, batch, name) alone, so that removing
    one augmentation does not change what the others draw.

    Args:
        augmentations: maps names to augmentations, in order; "" is the name of one that is alone.
        seed: base seed of the random numbers.
        preprocess: preprocessing of the network; set it before the first batch if the network is built later.
    """

    def __init__(self, augmentations: Mapping[str, Any], seed: int, preprocess: Preprocess | None = None):
        self.augmentations, self.seed, self.preprocess = dict(augmentations), seed, preprocess

    def at(self, epoch: int, max_epochs: int) -> Callable[[Batch], Batch]:
        """Return the function that augments the batches of an epoch; see `Context` for the arguments."""
        return functools.partial(self._augment, epoch=epoch, max_epochs=max_epochs)

    def _augment(self, batch: Batch, epoch: int, max_epochs: int) -> Batch:
        assert self.preprocess is not None
        for name, augmentation in self.augmentations.items():
            purpose = ("augment", epoch, batch.number, *([name] if name else []))
            generator = make_generator(self.seed, *purpose, device=batch.pixels.device)
            if hasattr(augmentation, "augment_batch"):
                context = Context(self.seed, epoch, max_epochs, self.preprocess, generator)
                batch = augmentation.augment_batch(batch, context)
            else:
                batch = batch._replace(pixels=augmentation(batch.pixels, generator))
        return batch
