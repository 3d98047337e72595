"""Batches of pictures: one gather each from memory or a mapped file, or decoded ahead by other processes."""

import math
import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from viewfinder.data.decode import decode_some, without_warnings
from viewfinder.data.resize import Resize
from viewfinder.data.seeding import generator
from viewfinder.data.split import Rows
from viewfinder.errors import Problem, UserError

CHUNK = 50
"""Batches that Lightning is given at once: what it does for each costs a hundredth of them."""
HASHED = 2**20
"""Bytes of pictures that a fingerprint takes at once."""
AHEAD = 2
"""Chunks that each reading process has ready."""


class Batch(NamedTuple):
    pixels: Tensor
    """(N, C, H, W) uint8; or what a frozen backbone makes of them, (N, D) float32"""
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
        is_apart: whether `pictures` holds those of the part alone, in their order.
    """

    def __init__(self, pictures: "Pictures", part: Part, is_apart: bool = False):
        self.pictures, self.part, self.is_apart = pictures, part, is_apart
        self.device = torch.device("cpu")
        self.augment: Callable[[Batch], Tensor] | None = None
        self.problems: list[Problem] = []
        """what kept a picture from being read"""

    def to(self, device: torch.device) -> "Chunk":
        """The same batches, on a device once they are gathered."""
        self.device = device
        return self

    def __len__(self) -> int:
        return len(self.part.batches)

    def __iter__(self) -> Iterator[Batch]:
        if self.problems:
            raise UserError("the data", self.problems)
        if not self.part.batches:
            return
        positions = torch.cat([each for _, each in self.part.batches])
        places = torch.arange(len(positions)) if self.is_apart else positions
        sizes = [len(each) for _, each in self.part.batches]
        # All positions at once: each copy to a GPU has its price, however small.
        split = zip(places.to(self.pictures.device).split(sizes), positions.to(self.device).split(sizes), strict=True)
        for (number, _), (at, positions) in zip(self.part.batches, split, strict=True):
            pixels, labels = (each.to(self.device, non_blocking=True) for each in self.pictures.at(at))
            batch = Batch(pixels, labels, positions, number)
            yield batch if self.augment is None else batch._replace(pixels=self.augment(batch))


class Pictures(Dataset[Chunk]):
    """The pictures of a split, in memory, on a GPU or in a mapped file; indexed by parts of an epoch.

    Args:
        rows: the pictures, N of them.
        labels: (N,) int64.
        channels: 3 repeats the levels of grey ones, 1 weighs colours to grey; None leaves them.
    """

    workers = 0
    """processes that read ahead"""

    def __init__(self, rows: Rows, labels: Tensor, channels: int | None = None):
        self.rows, self.labels = rows, labels
        stored = rows.base.shape[3]
        self.convert = None if channels in (None, stored) else _repeated if channels == 3 else _weighed
        self.shape: tuple[int, ...] = (channels or stored, *rows.base.shape[1:3])
        """(C, H, W)"""

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, part: Part) -> Chunk:
        return Chunk(self, part)

    @property
    def device(self) -> torch.device:
        """Where they are, and positions must be."""
        return self.labels.device

    def with_base(self, base: Tensor) -> "Pictures":
        """The same pictures, taken from a copy of `rows.base` on another device."""
        rows = Rows(base, self.rows.places.to(base.device))
        return Pictures(rows, self.labels.to(base.device), self.shape[0])

    def at(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Pictures, (N, C, H, W) uint8 in channels_last, and labels, (N,) int64, at positions (N,) int64."""
        pixels = self.rows.base.index_select(0, self.rows.places[positions]).permute(0, 3, 1, 2)
        return pixels if self.convert is None else self.convert(pixels), self.labels[positions]

    @property
    def pixels(self) -> Tensor:
        """All of them, (N, C, H, W) uint8, as a copy."""
        return self.at(torch.arange(len(self)))[0].contiguous()

    def content(self) -> Iterator[bytes]:
        """Whatever tells these pictures from others, for a fingerprint."""
        for places in torch.arange(len(self)).split(max(1, HASHED // math.prod(self.shape))):
            yield self.at(places)[0].numpy().tobytes()


class StreamedPictures(Pictures):
    """The pictures of a split in their files, read when their turn comes, by processes that read ahead.

    Args:
        paths: of the files, (N,).
        labels: (N,) int64.
        channels: 1 or 3.
        resize: to decode by.
        workers: processes.
    """

    def __init__(self, paths: Sequence[Path], labels: Tensor, channels: int, resize: Resize, workers: int):
        self.paths, self.labels, self.resize, self.workers = paths, labels, resize, workers
        self.shape = (channels, resize.height, resize.width)

    def __getitem__(self, part: Part) -> Chunk:
        if not part.batches:  # without the paths of all the others, since it is handed from process to process
            channels, height, width = self.shape
            none = torch.empty(0, height, width, channels, dtype=torch.uint8)
            return Chunk(Pictures(Rows(none), self.labels[:0]), part, is_apart=True)
        positions = torch.cat([positions for _, positions in part.batches])
        base, problems = self._decode(positions)
        chunk = Chunk(Pictures(Rows(base), self.labels[positions]), part, is_apart=True)
        chunk.problems = problems
        return chunk

    def at(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        base, problems = self._decode(positions)
        if problems:
            raise UserError("the data", problems)
        return base.permute(0, 3, 1, 2), self.labels[positions]

    @without_warnings()
    def _decode(self, positions: Tensor) -> tuple[Tensor, list[Problem]]:
        """(N, H, W, C) uint8, and what kept a picture from being read."""
        channels, height, width = self.shape
        base = torch.empty(len(positions), height, width, channels, dtype=torch.uint8)
        problems = []
        paths = [self.paths[position] for position in positions.tolist()]
        for place, found in enumerate(decode_some(paths, channels, self.resize)):
            if isinstance(found, Problem):
                problems.append(found)
            else:
                base[place] = found.permute(1, 2, 0)
        return base, problems

    def content(self) -> Iterator[bytes]:
        """The files' sizes: to read all of them would cost what streaming is to save."""
        yield np.array([path.stat().st_size for path in self.paths]).tobytes()


class Features(Pictures):
    """What a frozen backbone makes of a split's pictures, in their place.

    Args:
        features: (N, D) float32, in memory, on a GPU or mapped from a file.
        labels: (N,) int64, on the same device.
    """

    def __init__(self, features: Tensor, labels: Tensor):
        self.features, self.labels, self.shape = features, labels, tuple(features.shape[1:])

    def at(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Features, (N, D) float32, and labels, (N,) int64, at positions (N,) int64."""
        return self.features.index_select(0, positions), self.labels[positions]


def _repeated(pixels: Tensor) -> Tensor:
    return pixels.expand(-1, 3, -1, -1)


def _weighed(pixels: Tensor) -> Tensor:
    """Colour to grey as Pillow does (ITU-R 601-2)."""
    weights = torch.tensor([19595, 38470, 7471], dtype=torch.int32, device=pixels.device).view(1, 3, 1, 1)
    return ((pixels.int() * weights).sum(1, keepdim=True) + 0x8000 >> 16).byte()


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
        self.done: tuple[int, int] = (0, 0)
        """of one epoch, so many of this process's batches are left out: they have been trained on before"""

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
        done = self.done[1] if self.done[0] == self.epoch else 0
        for first in range(0, len(self.numbers), self.chunk):
            left = min(max(first, done), first + self.chunk)
            numbers = self.numbers[left : first + self.chunk]
            batches = [(n, order[n * self.batch_size : (n + 1) * self.batch_size]) for n in numbers]
            yield Part(batches, left, len(self.numbers))


def loader(pictures: Pictures, order: EpochOrder) -> DataLoader[Chunk]:
    # The generator only spares torch's global one, from which a DataLoader would draw a number it does not need.
    workers = pictures.workers
    return DataLoader(
        pictures, sampler=order, batch_size=None, generator=torch.Generator(), num_workers=workers,
        persistent_workers=workers > 0, prefetch_factor=AHEAD if workers else None, worker_init_fn=_leave_signals,
    )  # fmt: skip


def _leave_signals(worker: int) -> None:
    """A reading process ends with the one that it reads for, which alone answers signals."""
    for name in ("SIGINT", "SIGUSR1"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
