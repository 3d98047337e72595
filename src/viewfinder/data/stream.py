"""Images that are decoded from their files whenever they are needed."""

import contextlib
import errno
import multiprocessing
import shutil
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Listener
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import get_worker_info

from viewfinder.data.batches import PREFETCHED_CHUNKS, Chunk, SplitImages
from viewfinder.data.decode import decode_images
from viewfinder.data.image_file import silence_warnings
from viewfinder.data.jpeg import load_jpeg_decoder
from viewfinder.data.order import ChunkIndices
from viewfinder.data.resize import Resize
from viewfinder.data.split import SPLITS, ImageRows
from viewfinder.errors import Problem, UserError

SHARED_MEMORY = Path("/dev/shm")
"""File system of shared memory and semaphores on Linux; containers make it small."""


class StreamedImages(SplitImages):
    """The images of a split in their files, decoded by worker processes when they are needed.

    Args:
        paths: paths of N image files.
        labels: (N,) int64.
        channels: 1 or 3.
        resize: resize of decoded images.
        workers: number of worker processes.
    """

    def __init__(self, paths: Sequence[Path], labels: Tensor, channels: int, resize: Resize, workers: int):
        self.paths, self.labels, self.resize, self.workers = paths, labels, resize, workers
        self.shape = (channels, resize.height, resize.width)
        self.is_shared = can_share_memory()
        load_jpeg_decoder()  # once, before worker processes are forked

    def __getitem__(self, indices: ChunkIndices) -> Chunk:
        if not indices.batches:  # without all paths, because the chunk is sent between processes
            channels, height, width = self.shape
            empty = torch.empty(0, height, width, channels, dtype=torch.uint8)
            return Chunk(SplitImages(ImageRows(empty), self.labels[:0]), indices, is_gathered=True)
        positions = torch.cat([batch_positions for _, batch_positions in indices.batches])
        base, problems = self._decode(positions)
        return DecodedChunk(base, self.labels[positions], indices, problems)

    def gather(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        base, problems = self._decode(positions)
        if problems:
            raise UserError("the data", problems)
        return base.permute(0, 3, 1, 2), self.labels[positions]

    @silence_warnings()
    def _decode(self, positions: Tensor) -> tuple[Tensor, list[Problem]]:
        """Return (N, H, W, C) uint8, and the problems of unreadable images."""
        channels, height, width = self.shape
        base = torch.empty(len(positions), height, width, channels, dtype=torch.uint8)
        if self.is_shared and get_worker_info() is not None and _has_shared_memory(base.nbytes):
            with contextlib.suppress(RuntimeError):  # /dev/shm is full, so the images are sent through a pipe
                base.share_memory_()
        problems = []
        paths = [self.paths[position] for position in positions.tolist()]
        for row, image in enumerate(decode_images(paths, channels, self.resize)):
            if isinstance(image, Problem):
                problems.append(image)
            else:
                base[row] = image.permute(1, 2, 0)
        return base, problems

    def iterate_bytes(self) -> Iterator[bytes]:
        """Yield the files' sizes in place of their content; reading it would cost the time that streaming saves."""
        yield np.array([path.stat().st_size for path in self.paths]).tobytes()


class DecodedChunk(Chunk):
    """Decoded images of a chunk, which a worker process sends in shared memory or by value.

    Args:
        base: (N, H, W, C) uint8; sent by value unless it is in shared memory.
        labels: (N,) int64.
        indices: numbers and positions of the batches.
        problems: unreadable images.
    """

    def __init__(self, base: Tensor, labels: Tensor, indices: ChunkIndices, problems: list[Problem]):
        super().__init__(SplitImages(ImageRows(base), labels), indices, is_gathered=True)
        self.problems = problems

    def __reduce__(self) -> tuple[Any, ...]:
        base = self.images.rows.base
        content = base if base.is_shared() else base.numpy()
        return _receive_chunk, (content, self.images.labels.numpy(), self.indices, self.problems)


def _receive_chunk(
    base: Tensor | np.ndarray, labels: np.ndarray, indices: ChunkIndices, problems: list[Problem]
) -> DecodedChunk:
    return DecodedChunk(torch.as_tensor(base), torch.from_numpy(labels), indices, problems)


def can_share_memory() -> bool:
    """Return whether worker processes can send tensors in shared memory.

    They connect by a socket in the folder for temporary files. The path of a socket may have about 100 bytes; where it
    is longer, a worker's failure would not reach this process.
    """
    try:
        Listener().close()
    except OSError:
        return False
    return True


def _has_shared_memory(size: int) -> bool:
    """Return whether half of the shared memory stays free, for semaphores and for other programs."""
    if not SHARED_MEMORY.is_dir():
        return True
    usage = shutil.disk_usage(SHARED_MEMORY)
    return usage.free - size >= usage.total / 2


def check_workers(count: int) -> None:
    """Check that a number of worker processes can be started for all splits together.

    Raises:
        UserError: if the system has no room for their semaphores, or for the files that connect them.
    """
    queues = len(SPLITS) * (count + 2)  # one to each process, one from them, and an event, which is larger
    pipes = (len(SPLITS) + PREFETCHED_CHUNKS // 2) * count  # one to each process, and a file for each chunk on its way
    try:
        _ = [multiprocessing.Queue() for _ in range(queues)], [multiprocessing.Pipe(False) for _ in range(pipes)]
    except OSError as error:
        rule = f"needs semaphores for worker processes, which cannot be created in {SHARED_MEMORY}: {error.strerror}"
        remedy = "Make room there, or set data.storage=disk, or memory."
        if error.errno == errno.EMFILE:
            import resource  # missing on Windows

            files = 2 * (queues + pipes)
            limit, workers = resource.getrlimit(resource.RLIMIT_NOFILE)[0], f"{count} process{'es' * (count > 1)}"
            rule = f"needs {files:,} open files for its {workers} in each split, more than this process may open"
            remedy = f"Use fewer data.workers, or raise the limit, which is {limit:,} files (ulimit -n)."
        raise UserError("the machine", [Problem("data.storage", rule, "stream", remedy)]) from error
