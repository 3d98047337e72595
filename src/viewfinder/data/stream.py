"""Images that are decoded from their files whenever they are needed."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from viewfinder.data.batches import Chunk, SplitImages
from viewfinder.data.decode import decode_images, silence_warnings
from viewfinder.data.jpeg import load_jpeg_decoder
from viewfinder.data.order import ChunkIndices
from viewfinder.data.resize import Resize
from viewfinder.data.split import ImageRows
from viewfinder.errors import Problem, UserError


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
        load_jpeg_decoder()  # once, before worker processes are forked

    def __getitem__(self, indices: ChunkIndices) -> Chunk:
        if not indices.batches:  # without all paths, because the chunk is sent between processes
            channels, height, width = self.shape
            empty = torch.empty(0, height, width, channels, dtype=torch.uint8)
            return Chunk(SplitImages(ImageRows(empty), self.labels[:0]), indices, is_gathered=True)
        positions = torch.cat([batch_positions for _, batch_positions in indices.batches])
        base, problems = self._decode(positions)
        chunk = Chunk(SplitImages(ImageRows(base), self.labels[positions]), indices, is_gathered=True)
        chunk.problems = problems
        return chunk

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
