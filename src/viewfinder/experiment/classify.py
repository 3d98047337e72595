"""Classification of image files by a run, decoded in threads while the network computes."""

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from viewfinder.data.ahead import map_ahead
from viewfinder.data.decode import FILES_PER_CALL, decode_images
from viewfinder.data.files import escape_path
from viewfinder.data.image_file import silence_warnings
from viewfinder.data.jpeg import load_jpeg_decoder
from viewfinder.data.resources import count_cores
from viewfinder.errors import Problem
from viewfinder.evaluation.classified import Classified
from viewfinder.experiment.load import OpenedRun

BATCH_SIZE = 128
AHEAD = 4 * BATCH_SIZE // FILES_PER_CALL
"""Calls of the decoder whose images are in memory at once."""


def classify(opened: OpenedRun, files: Sequence[Path]) -> Iterator[Classified]:
    """Classify image files, decoded and resized as in training; yield a result for every BATCH_SIZE files."""
    channels, size = opened.picture_shape
    load_jpeg_decoder()  # once, before threads need it

    def decode(part: Sequence[Path]) -> list[Tensor | Problem]:
        return list(decode_images(part, channels, size))

    parts = [files[start : start + FILES_PER_CALL] for start in range(0, len(files), FILES_PER_CALL)]
    with silence_warnings():
        decoded = map_ahead(decode, parts, count_cores(), AHEAD)
        for start in range(0, len(files), BATCH_SIZE):
            batch = files[start : start + BATCH_SIZE]
            parts_of_batch = itertools.islice(decoded, -(-len(batch) // FILES_PER_CALL))
            results = list(itertools.chain.from_iterable(parts_of_batch))
            images = [image for image in results if isinstance(image, Tensor)]
            names = [escape_path(path) for path, image in zip(batch, results, strict=True) if isinstance(image, Tensor)]
            problems = [image for image in results if isinstance(image, Problem)]
            rows = opened.logits(torch.stack(images)) if images else torch.empty(0, len(opened.class_names)).double()
            yield Classified(names, rows.softmax(1).numpy(), rows.argmax(1).numpy(), opened.class_names, problems)
