"""Files loaded in threads, a bounded number of them ahead of their reader."""

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from viewfinder.data.files import escape_path
from viewfinder.data.image_file import silence_warnings
from viewfinder.data.resources import count_cores
from viewfinder.errors import Problem

T = TypeVar("T")
R = TypeVar("R")
BATCHES_AHEAD = 4
"""Batches in memory at once."""


def load_batches(
    load: Callable[[Sequence[Path]], Iterable[Any]], files: Sequence[str], batch_size: int, files_per_call: int = 1
) -> Iterator[tuple[list[str], list[Any], list[Problem]]]:
    """Yield the names of the readable files, their images, and the problems of the others, for every batch of files.

    Args:
        load: returns the image, or the problem, of each of some files.
        files: paths as strings, because a million Path objects take half a gigabyte.
        files_per_call: files that `load` takes at once.
    """
    parts = (list(map(Path, files[start : start + files_per_call])) for start in range(0, len(files), files_per_call))
    with silence_warnings():
        ahead = BATCHES_AHEAD * batch_size // files_per_call
        loaded = map_ahead(lambda part: list(load(part)), parts, count_cores(), ahead)
        for start in range(0, len(files), batch_size):
            batch = list(map(Path, files[start : start + batch_size]))
            calls = itertools.islice(loaded, -(-len(batch) // files_per_call))
            results = list(zip(batch, itertools.chain.from_iterable(calls), strict=True))
            images = [(escape_path(path), image) for path, image in results if not isinstance(image, Problem)]
            problems = [image for _, image in results if isinstance(image, Problem)]
            yield [name for name, _ in images], [image for _, image in images], problems


def map_ahead(function: Callable[[T], R], items: Iterable[T], threads: int, ahead: int) -> Iterator[R]:
    """Yield a function's result for each item in order, computed in threads.

    Args:
        ahead: number of items that are computed or wait for the reader at the same time; memory is bounded by it.
    """
    pool, pending = ThreadPoolExecutor(threads), deque[Future[R]]()
    try:
        for item in items:
            pending.append(pool.submit(function, item))
            if len(pending) == ahead:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
