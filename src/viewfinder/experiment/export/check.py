"""Comparison of an exported file with its run on real images."""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from viewfinder.data.batches import SplitImages
from viewfinder.data.decode import decode_image, to_pil_image, to_tensor
from viewfinder.data.image_file import catch_problem
from viewfinder.data.resize import Resize
from viewfinder.data.split import ImageRows
from viewfinder.errors import Problem, UserError
from viewfinder.experiment.export.files import Predict
from viewfinder.experiment.load import OpenedRun

MAX_DIFFERENCE = 1e-4
"""Largest difference of a probability that is accepted by default."""
MAX_IMAGES = 1000
BATCH_SIZES = (1, 7, 64)
RESIZED_IMAGES = 16
"""Images that are compared in a second size, too."""


class Comparison(NamedTuple):
    """Result of a comparison.

    Args:
        images: description of the images.
        image_count: number of images.
        resized_count: number of these that were compared in a second size, too.
        largest_difference: of a probability.
        changed_predictions: images, in either size, with another most likely class.
    """

    images: str
    image_count: int
    resized_count: int
    largest_difference: float
    changed_predictions: int

    def describe_images(self) -> str:
        """Describe the images: '359 images (the test split), 16 of them in a second size, too'."""
        return (
            f"{self.image_count:,} image{'s' * (self.image_count != 1)} ({self.images}), "
            f"{self.resized_count:,} of them in a second size, too"
        )


class Samples(NamedTuple):
    """Images for a comparison, each (C, H, W) uint8, and their description."""

    description: str
    images: Iterable[Tensor]


def select_samples(opened: OpenedRun, files: Sequence[Path]) -> Samples:
    """Return up to MAX_IMAGES images: the given files, or the run's test images, or noise without those."""
    if files:
        chosen = files[:MAX_IMAGES]
        return Samples("the given images", _decode(chosen, opened.picture_shape[0], must_be_readable=True))
    try:
        split = opened.list_data("test").splits["test"]
    except UserError as error:
        return _draw_noise(opened, f"the run's images are missing ({error.reason})")
    positions = np.unique(np.linspace(0, len(split) - 1, MAX_IMAGES).astype(np.int64))
    if isinstance(split.content, ImageRows):
        images = SplitImages(split.content, torch.from_numpy(split.labels), opened.picture_shape[0])
        return Samples("the test split", images.gather(torch.from_numpy(positions))[0])
    images = _decode(split.content[positions], opened.picture_shape[0])
    if (first := next(images, None)) is None:
        return _draw_noise(opened, "none of the run's test images can be read")
    return Samples("the test split", itertools.chain([first], images))


def _draw_noise(opened: OpenedRun, reason: str) -> Samples:
    generator, (height, width) = torch.Generator().manual_seed(0), opened.stored[1]
    shape = (sum(BATCH_SIZES), opened.picture_shape[0], height, width)
    noise = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
    return Samples(f"noise, because {reason}", noise)


def compare(opened: OpenedRun, predict: Predict, samples: Samples, max_difference: float) -> Comparison:
    """Compare an exported file with its run, in batches of different sizes and with some images in a second size.

    Args:
        predict: function of the exported file.
        max_difference: largest accepted difference of a probability.

    Raises:
        UserError: if a probability differs by more than that.
    """
    resize = Resize.from_size(opened.picture_shape[1])
    image_count = compared_count = changed = 0
    largest = 0.0

    def count_images() -> Iterator[Tensor]:
        nonlocal image_count
        for image in samples.images:
            image_count += 1
            yield image

    for batch in _batch_equal_sizes(_add_second_size(count_images(), resize)):
        fitted = torch.stack([to_tensor(resize.resize_image(to_pil_image(image))) for image in batch])
        with torch.no_grad():
            expected = opened.logits(fitted).softmax(1)
            probabilities = predict(torch.stack(batch).contiguous())[0].double()
        compared_count += len(batch)
        changed += int((probabilities.argmax(1) != expected.argmax(1)).sum())
        differences = (probabilities - expected).abs().nan_to_num(nan=float("inf"))
        largest = max(largest, differences.max().item())
    comparison = Comparison(samples.description, image_count, compared_count - image_count, largest, changed)
    if largest > max_difference:
        rule = (
            f"answers differently from the run: on {comparison.describe_images()}, a probability differs by "
            f"{largest:.2g}, and {changed:,} predictions change; the largest accepted difference is {max_difference:g}"
        )
        remedy = "Check that the network draws no random numbers in eval mode, or accept it with --max-difference."
        raise UserError("the export", [Problem("the exported file", rule, remedy=remedy)])
    return comparison


def _decode(paths: Iterable[Path], channels: int, must_be_readable: bool = False) -> Iterator[Tensor]:
    """Decode files in their own sizes; without `must_be_readable`, leave out unreadable files."""
    for path in paths:
        image = catch_problem(partial(decode_image, channels=channels), path)
        if not isinstance(image, Problem):
            yield image
        elif must_be_readable:
            raise UserError("the images", [image])


def _add_second_size(images: Iterable[Tensor], resize: Resize) -> Iterator[Tensor]:
    """Yield the images, and then the first ones in a size that the network does not expect."""
    size = (resize.width * 3 // 2 + 1, resize.height * 4 // 3 + 1)
    resized: list[Tensor] = []
    for image in images:
        if len(resized) < RESIZED_IMAGES:
            resized.append(to_tensor(to_pil_image(image).resize(size)))
        yield image
    yield from resized


def _batch_equal_sizes(images: Iterable[Tensor]) -> Iterator[list[Tensor]]:
    """Yield batches of consecutive images of equal size, of up to 1, 7, 64, 1, ... images."""
    sizes = itertools.cycle(BATCH_SIZES)
    for _, group in itertools.groupby(images, key=lambda image: image.shape):
        while batch := list(itertools.islice(group, next(sizes))):
            yield batch
