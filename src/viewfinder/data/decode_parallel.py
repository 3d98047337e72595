"""Decoding of many image files in threads, with a progress bar."""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from torch import Tensor
from tqdm import tqdm

from viewfinder.data.decode import FILES_PER_CALL, decode_images
from viewfinder.data.image_file import silence_warnings
from viewfinder.data.resize import Size
from viewfinder.data.resources import count_cores
from viewfinder.errors import Problem

T = TypeVar("T")
Unreadable = dict[int, Problem]
"""Index of an image -> why it cannot be read."""
logging.getLogger("PIL").addHandler(logging.NullHandler())  # otherwise its messages about malformed files go to stderr


def decode_all(
    paths: Sequence[Path], channels: int, size: Size, description: str, target: Tensor | None = None
) -> Unreadable:
    """Decode many images.

    Args:
        description: text of the progress bar.
        target: (N, H, W, channels) uint8 to write the images to; None only checks whether they can be read.

    Returns:
        The unreadable images, whose rows of `target` stay unchanged.
    """

    def decode_part(part: Sequence[tuple[int, Path]]) -> Iterator[Problem | None]:
        decoded = decode_images([path for _, path in part], channels, size)
        for (index, _), image in zip(part, decoded, strict=True):
            if isinstance(image, Problem):
                yield image
            else:
                if target is not None:
                    target[index] = image.permute(1, 2, 0)
                yield None

    problems = map_in_threads(decode_part, list(enumerate(paths)), description)
    return {index: problem for index, problem in enumerate(problems) if problem is not None}


def map_in_threads(
    function: Callable[[Sequence[T]], Iterable[Any]],
    items: Sequence[T],
    description: str,
    max_threads: int | None = None,
) -> list[Any]:
    """Return a function's results for all items.

    Args:
        function: takes several items at once, since threads that take single ones mostly wait for each other.
        description: text of the progress bar.
        max_threads: None for one per core.
    """
    cores = count_cores()
    threads = min(cores, max_threads or cores)
    part_size = max(1, min(FILES_PER_CALL, len(items) // (4 * threads)))
    parts = [items[start : start + part_size] for start in range(0, len(items), part_size)]
    results: list[Any] = []
    with (
        silence_warnings(),
        ThreadPoolExecutor(threads) as pool,
        tqdm(desc=description, total=len(items), leave=False, disable=None, unit=" images", delay=1) as bar,
    ):
        for part_results in pool.map(lambda part: list(function(part)), parts):
            results += part_results
            bar.update(len(part_results))
    return results
