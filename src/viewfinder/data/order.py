"""Order of the images in an epoch, as chunks of batches."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Sampler

from viewfinder.data.seeding import make_generator
from viewfinder.errors import Problem, UserError

CHUNK_SIZE = 50
"""Batches per call by Lightning; its overhead is then about 1% of the training time."""


class ChunkIndices(NamedTuple):
    """Consecutive batches of an epoch, as positions of their images."""

    batches: list[tuple[int, Tensor]]
    """(number, positions) of each batch"""
    first: int
    """index of the first of these among this process's batches of the epoch"""
    total: int
    """number of this process's batches in the epoch"""

    def __reduce__(self) -> tuple[Any, ...]:
        """Send positions to a worker process by value; torch sends tensors through shared memory, which may be full."""
        return _receive_indices, ([(number, positions.numpy()) for number, positions in self.batches], *self[1:])


def _receive_indices(batches: list[tuple[int, np.ndarray]], first: int, total: int) -> ChunkIndices:
    return ChunkIndices([(number, torch.from_numpy(positions)) for number, positions in batches], first, total)


class EpochOrder(Sampler[ChunkIndices]):
    """Sampler of chunks whose order depends on (seed, epoch) alone, so that any epoch can be repeated.

    The processes' batches of a step are together one batch of a single process. A shuffled epoch leaves out a last step
    with fewer than two images for each process, for which batch norm has no variance.

    Args:
        count: number of images in the split.
        batch_size: images per batch; the last may have fewer.
        seed: seed of the shuffling; None keeps the split's order.
        rank, world_size: index of this process and number of processes. Each takes every world_size-th batch of a
            shuffled order, and a share of what is left for the last step; or every world_size-th image of an
            unshuffled one.
        max_batches: maximum number of batches per process.
        chunk_size: batches per chunk.
    """

    def __init__(
        self,
        count: int,
        batch_size: int,
        seed: int | None = None,
        rank: int = 0,
        world_size: int = 1,
        max_batches: int | None = None,
        chunk_size: int = CHUNK_SIZE,
    ):
        self.count, self.batch_size, self.seed, self.chunk_size = count, batch_size, seed, chunk_size
        self.rank, self.world_size = rank, world_size
        if seed is None:
            numbers = range(-(-len(range(rank, count, world_size)) // batch_size))
        else:
            steps, rest = divmod(count, batch_size * world_size)
            if rest >= 2 * world_size or rest == count == world_size == 1:
                steps += 1
            numbers = range(rank, steps * world_size, world_size)
        self.batch_numbers = numbers if max_batches is None else numbers[:max_batches]
        """numbers of this process's batches"""
        self.epoch = 0
        self.resume_position: tuple[int, int] = (0, 0)
        """(epoch, batches): batches of that epoch to skip, because this process has trained on them"""
        self.drawn_labels: Tensor | None = None
        """labels (N,) to draw shuffled images with replacement, all classes equally likely; None for each image once"""

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        """Return the number of chunks in an epoch."""
        return -(-len(self.batch_numbers) // self.chunk_size)

    def __iter__(self) -> Iterator[ChunkIndices]:
        if self.seed is None:
            order = torch.arange(self.rank, self.count, self.world_size)
        elif self.drawn_labels is not None:
            order = draw_balanced(self.drawn_labels, make_generator(self.seed, "sampler", self.epoch))
        else:
            order = torch.randperm(self.count, generator=make_generator(self.seed, "order", self.epoch))
        resume_epoch, trained_batches = self.resume_position
        skipped = trained_batches if resume_epoch == self.epoch else 0
        for start in range(0, len(self.batch_numbers), self.chunk_size):
            end = start + self.chunk_size
            first = min(max(start, skipped), end)
            numbers = self.batch_numbers[first:end]
            batches = [(number, self._select(order, number)) for number in numbers]
            yield ChunkIndices(batches, first, len(self.batch_numbers))

    def _select(self, order: Tensor, number: int) -> Tensor:
        """Return the positions of a batch: (n,)."""
        step = number // self.world_size * self.batch_size * self.world_size
        rest = self.count - step
        if self.seed is None or self.world_size == 1 or rest >= self.batch_size * self.world_size:
            return order[number * self.batch_size : (number + 1) * self.batch_size]
        return order[step:].tensor_split(self.world_size)[self.rank]


def require_batches(order: EpochOrder, split: str) -> EpochOrder:
    """Return the order of a split, or raise a UserError if a process has no batch.

    The result is equal in every process; otherwise some would wait forever.
    """
    if order.count < order.world_size or not len(order):
        rule = f"is too small: {order.count:,} images for {order.world_size} processes"
        rule += f" and a batch size of {order.batch_size:,}"
        remedy = "Use fewer processes (trainer.devices) or a smaller data.batch_size."
        raise UserError("the data", [Problem(f"the {split} split", rule, remedy=remedy)])
    return order


def draw_balanced(labels: Tensor, generator: torch.Generator) -> Tensor:
    """Draw a position for each label, with replacement: first a class, then one of its images.

    Args:
        labels: (N,) int64; classes without an image are never drawn.
        generator: source of all random numbers.
    """
    by_class = labels.argsort(stable=True)
    counts = torch.bincount(labels)
    starts, present = counts.cumsum(0) - counts, counts.nonzero()[:, 0]
    drawn = present[torch.randint(len(present), labels.shape, generator=generator)]
    within = torch.randint(2**62, labels.shape, generator=generator) % counts[drawn]
    return by_class[starts[drawn] + within]
