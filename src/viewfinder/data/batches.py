"""Batches of pictures that are in memory: one gather each, no worker processes."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from viewfinder.seeds import generator


class Batch(NamedTuple):
    pixels: Tensor
    """(N, C, H, W) uint8"""
    labels: Tensor
    """(N,) int64"""
    positions: Tensor
    """(N,) int64: place of each picture in its split"""
    number: int
    """of this batch in its epoch, over all processes"""


class Pictures(Dataset[Batch]):
    """The pictures of a split, (N, C, H, W) uint8, with their labels, (N,) int64; indexed by whole batches."""

    def __init__(self, pixels: Tensor, labels: Tensor):
        self.pixels, self.labels = pixels, labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: tuple[int, Tensor]) -> Batch:
        number, positions = index
        return Batch(self.pixels[positions], self.labels[positions], positions, number)


class EpochOrder(Sampler[tuple[int, Tensor]]):
    """Which pictures each batch holds: a function of (seed, epoch) alone, so that any epoch can be had again.

    Args:
        count: pictures in the split.
        batch_size: pictures a batch; the last may hold fewer.
        seed: for shuffling; None keeps the order.
        rank, world_size: with several processes, each takes every world_size-th batch of a shuffled order, which
            leaves out the batches that would not make a full round; and every world_size-th picture of a kept one.
        most: at most so many batches for each process.

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
    ):
        self.count, self.batch_size, self.seed = count, batch_size, seed
        self.rank, self.world_size = rank, world_size
        if seed is None:
            numbers = range(-(-len(range(rank, count, world_size)) // batch_size))
        else:
            batches = -(-count // batch_size)
            if count % batch_size == 1 and count > 1 and batch_size > 1:
                batches -= 1
            numbers = range(rank, batches - batches % world_size, world_size)
        self.numbers = numbers if most is None else numbers[:most]
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.numbers)

    def __iter__(self) -> Iterator[tuple[int, Tensor]]:
        if self.seed is None:
            order = torch.arange(self.rank, self.count, self.world_size)
        else:
            order = torch.randperm(self.count, generator=generator(self.seed, "order", self.epoch))
        for number in self.numbers:
            yield number, order[number * self.batch_size : (number + 1) * self.batch_size]


def loader(pictures: Pictures, order: EpochOrder) -> DataLoader[Batch]:
    # The generator only spares torch's global one, from which a DataLoader would draw a number it does not need.
    return DataLoader(pictures, sampler=order, batch_size=None, generator=torch.Generator())
