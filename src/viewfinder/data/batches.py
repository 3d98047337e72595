"""Batches of pictures that are in memory: one gather each, no worker processes."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from viewfinder.seeds import generator

CHUNK = 50
"""Batches that Lightning is given at once: what it does for each costs a hundredth of them."""


class Batch(NamedTuple):
    pixels: Tensor
    """(N, C, H, W) uint8"""
    labels: Tensor
    """(N,) int64"""
    positions: Tensor
    """(N,) int64: place of each picture in its split"""
    number: int
    """of this batch in its epoch, over all processes"""


class Part(NamedTuple):
    """Some batches of an epoch by the positions of their pictures."""

    batches: list[tuple[int, Tensor]]
    """number and positions of each"""
    first: int
    """how many batches of the epoch this process has before these"""
    total: int
    """how many it has in the epoch"""


class Chunk:
    """Consecutive batches of one epoch, each gathered when its turn comes; what Lightning takes for a batch.

    Args:
        pictures: where they are gathered from.
        part: which.
    """

    def __init__(self, pictures: "Pictures", part: Part):
        self.pictures, self.part = pictures, part
        self.device = pictures.pixels.device
        self.augment: Callable[[Batch], Tensor] | None = None

    def to(self, device: torch.device) -> "Chunk":
        """The same batches, on a device once they are gathered."""
        self.device = device
        return self

    def __len__(self) -> int:
        return len(self.part.batches)

    def __iter__(self) -> Iterator[Batch]:
        for number, positions in self.part.batches:
            batch = self.pictures.batch(positions, number)
            if self.device.type != "cpu":
                pixels, labels, places = (part.to(self.device, non_blocking=True) for part in batch[:3])
                batch = Batch(pixels, labels, places, number)
            yield batch if self.augment is None else batch._replace(pixels=self.augment(batch))


class Pictures(Dataset[Chunk]):
    """The pictures of a split, (N, C, H, W) uint8, with their labels, (N,) int64; indexed by parts of an epoch."""

    def __init__(self, pixels: Tensor, labels: Tensor):
        self.pixels, self.labels = pixels, labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, part: Part) -> Chunk:
        return Chunk(self, part)

    def batch(self, positions: Tensor, number: int = 0) -> Batch:
        """The pictures at some positions, (N,) int64."""
        return Batch(self.pixels[positions], self.labels[positions], positions, number)


class EpochOrder(Sampler[Part]):
    """Which pictures each batch holds: a function of (seed, epoch) alone, so that any epoch can be had again.

    Args:
        count: pictures in the split.
        batch_size: pictures a batch; the last may hold fewer.
        seed: for shuffling; None keeps the order.
        rank, world_size: with several processes, each takes every world_size-th batch of a shuffled order, which
            leaves out the batches that would not make a full round; and every world_size-th picture of a kept one.
        most: at most so many batches for each process.
        chunk: batches a part.

    A shuffled order never ends in a batch of one picture, for which batch norm has no variance: that one is left out.
    """

    def __init__(
        self,
        count: int,
        batch_size: int,
        seed: int | None = None,
        rank: int = 0,
        world_size: int = 1,
        most: int | None = None,
        chunk: int = CHUNK,
    ):
        self.count, self.batch_size, self.seed, self.chunk = count, batch_size, seed, chunk
        self.rank, self.world_size = rank, world_size
        if seed is None:
            numbers = range(-(-len(range(rank, count, world_size)) // batch_size))
        else:
            batches = -(-count // batch_size)
            if count % batch_size == 1 and count > 1 and batch_size > 1:
                batches -= 1
            numbers = range(rank, batches - batches % world_size, world_size)
        self.numbers = numbers if most is None else numbers[:most]
        """of this process's batches"""
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        """Parts an epoch."""
        return -(-len(self.numbers) // self.chunk)

    def __iter__(self) -> Iterator[Part]:
        if self.seed is None:
            order = torch.arange(self.rank, self.count, self.world_size)
        else:
            order = torch.randperm(self.count, generator=generator(self.seed, "order", self.epoch))
        for first in range(0, len(self.numbers), self.chunk):
            numbers = self.numbers[first : first + self.chunk]
            batches = [(n, order[n * self.batch_size : (n + 1) * self.batch_size]) for n in numbers]
            yield Part(batches, first, len(self.numbers))


def loader(pictures: Pictures, order: EpochOrder) -> DataLoader[Chunk]:
    # The generator only spares torch's global one, from which a DataLoader would draw a number it does not need.
    return DataLoader(pictures, sampler=order, batch_size=None, generator=torch.Generator())
