"""Batches gathered from stored images or features."""

import math
import signal
import weakref
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from viewfinder.data.order import ChunkIndices, EpochOrder
from viewfinder.data.split import ImageRows
from viewfinder.data.torch_internals import shutdown_workers
from viewfinder.errors import Problem, UserError
from viewfinder.runs.stop_signals import STOP_SIGNALS

HASHED_BYTES = 2**20
"""Bytes of images hashed at once for a fingerprint."""
PREFETCHED_CHUNKS = 2
"""Chunks that each worker process prepares ahead."""
LOADERS: "weakref.WeakSet[DataLoader[Chunk]]" = weakref.WeakSet()
"""Loaders of this process that may have worker processes."""
LUMA = (19595, 38470, 7471)
"""ITU-R 601-2 weights of red, green and blue in 1/65536, as in Pillow."""


class Mixing(NamedTuple):
    """Labels of other images of a batch that its images are mixed with."""

    labels: Tensor
    """(N,) int64, a permutation of the batch's labels"""
    share: Tensor
    """() float32, share of an image's own label"""


class Batch(NamedTuple):
    """Images and labels of one optimizer or evaluation step."""

    pixels: Tensor
    """(N, C, H, W) uint8; or features of a frozen backbone, (N, D) float32"""
    labels: Tensor
    """(N,) int64"""
    positions: Tensor
    """(N,) int64, of the images within their split"""
    number: int
    """index in the epoch, over all processes"""
    mixing: Mixing | None = None
    """None if each image has one label"""
    is_resized: bool = False
    """whether the images have the size at which the network takes them"""


class Chunk:
    """Consecutive batches of an epoch, which Lightning treats as one batch; each is gathered when it is needed.

    Args:
        images: images of the split.
        indices: numbers and positions of the batches.
        is_gathered: whether `images` contains the images of this chunk alone, in their order.
    """

    def __init__(self, images: "SplitImages", indices: ChunkIndices, is_gathered: bool = False):
        self.images, self.indices, self.is_gathered = images, indices, is_gathered
        self.device = torch.device("cpu")
        self.augment: Callable[[Batch], Batch] | None = None
        self.problems: list[Problem] = []
        """unreadable images"""

    def to(self, device: torch.device) -> "Chunk":
        """Set the device that batches are moved to when they are gathered."""
        self.device = device
        return self

    def __len__(self) -> int:
        return len(self.indices.batches)

    def __iter__(self) -> Iterator[Batch]:
        if self.problems:
            raise UserError("the data", self.problems)
        if not self.indices.batches:
            return
        positions = torch.cat([batch_positions for _, batch_positions in self.indices.batches])
        rows = torch.arange(len(positions)) if self.is_gathered else positions
        sizes = [len(batch_positions) for _, batch_positions in self.indices.batches]
        # All positions at once, because every copy to a GPU has a fixed cost.
        rows_by_batch = rows.to(self.images.device).split(sizes)
        positions_by_batch = positions.to(self.device).split(sizes)
        batches = zip(self.indices.batches, rows_by_batch, positions_by_batch, strict=True)
        for (number, _), batch_rows, batch_positions in batches:
            pixels, labels = (values.to(self.device, non_blocking=True) for values in self.images.gather(batch_rows))
            batch = Batch(pixels, labels, batch_positions, number)
            yield batch if self.augment is None else self.augment(batch)


class SplitImages(Dataset[Chunk]):
    """The images of a split in memory, on a GPU or in a mapped file, indexed by the chunks of an epoch.

    Args:
        rows: N images.
        labels: (N,) int64.
        channels: 3 repeats the channel of grey images, 1 converts colour to grey; None keeps them.
    """

    workers = 0
    """number of processes that prepare chunks ahead"""

    def __init__(self, rows: ImageRows, labels: Tensor, channels: int | None = None):
        self.rows, self.labels = rows, labels
        stored_channels = rows.base.shape[3]
        is_converted = channels not in (None, stored_channels)
        self.convert = None if not is_converted else _repeat_channel if channels == 3 else _convert_to_grey
        self.shape: tuple[int, ...] = (channels or stored_channels, *rows.base.shape[1:3])
        """(C, H, W)"""

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, indices: ChunkIndices) -> Chunk:
        return Chunk(self, indices)

    @property
    def device(self) -> torch.device:
        """Device of the images; positions must be on the same device."""
        return self.labels.device

    def with_base(self, base: Tensor) -> "SplitImages":
        """Return the same images backed by `base`, a copy of `rows.base` that may be on another device."""
        rows = ImageRows(base, self.rows.indices.to(base.device))
        return SplitImages(rows, self.labels.to(base.device), self.shape[0])

    def gather(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Return images, (N, C, H, W) uint8 in channels_last, and labels, (N,) int64, at positions, (N,) int64."""
        pixels = self.rows.base.index_select(0, self.rows.indices[positions]).permute(0, 3, 1, 2)
        return pixels if self.convert is None else self.convert(pixels), self.labels[positions]

    @property
    def pixels(self) -> Tensor:
        """Copy of all images, (N, C, H, W) uint8."""
        return self.gather(torch.arange(len(self)))[0].contiguous()

    def iterate_bytes(self) -> Iterator[bytes]:
        """Yield the content that identifies these images, for a fingerprint."""
        for positions in torch.arange(len(self)).split(max(1, HASHED_BYTES // math.prod(self.shape))):
            yield self.gather(positions)[0].numpy().tobytes()


class Features(SplitImages):
    """Features of a frozen backbone in place of a split's images.

    Args:
        features: (N, D) float32, in memory, on a GPU or mapped from a file.
        labels: (N,) int64, on the same device.
    """

    def __init__(self, features: Tensor, labels: Tensor):
        self.features, self.labels, self.shape = features, labels, tuple(features.shape[1:])

    def gather(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Return features, (N, D) float32, and labels, (N,) int64, at positions, (N,) int64."""
        return self.features.index_select(0, positions), self.labels[positions]


def build_loader(images: SplitImages, order: EpochOrder) -> DataLoader[Chunk]:
    """Build a DataLoader of chunks in this order."""
    loader = DataLoader(
        images,
        sampler=order,
        batch_size=None,
        generator=torch.Generator(),  # otherwise the DataLoader would draw from torch's global one
        num_workers=images.workers,
        persistent_workers=images.workers > 0,
        prefetch_factor=PREFETCHED_CHUNKS if images.workers else None,
        worker_init_fn=_ignore_signals,
    )
    LOADERS.add(loader)
    return loader


def stop_workers() -> None:
    """Stop the worker processes of all loaders, once one of them has died.

    Until then torch raises an error for the dead one whenever any child process of this process ends.
    """
    for loader in LOADERS:
        shutdown_workers(loader)


SECONDS_AFTER_SIGTERM = 20
"""Seconds after which a worker ends that has received SIGTERM."""


def _ignore_signals(worker: int) -> None:
    """Ignore signals in a worker process; the parent handles them, and its exit ends the worker.

    Batch systems send SIGTERM to every process of a job. The parent then needs the workers until it has saved, and it
    also sends SIGTERM to workers that do not end by themselves.
    """
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _end_later if hasattr(signal, "alarm") else signal.SIG_DFL)


def _end_later(*_: object) -> None:
    signal.alarm(SECONDS_AFTER_SIGTERM)  # SIGALRM ends the process


def _repeat_channel(pixels: Tensor) -> Tensor:
    return pixels.expand(-1, 3, -1, -1)


def _convert_to_grey(pixels: Tensor) -> Tensor:
    """Convert colour to grey, bit for bit as Pillow does."""
    weights = torch.tensor(LUMA, dtype=torch.int32, device=pixels.device).view(1, 3, 1, 1)
    return ((pixels.int() * weights).sum(1, keepdim=True) + 0x8000 >> 16).byte()
