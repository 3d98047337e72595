"""Many pictures at once: what they have in common, and their pixels; in threads, with a bar on a terminal."""

import functools
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from torch import Tensor
from tqdm import tqdm

from viewfinder.data.decode import TOGETHER, decode_some, guarded, look, without_warnings
from viewfinder.data.resize import Size
from viewfinder.errors import Problem

T = TypeVar("T")
Unread = dict[int, Problem]
"""Place of a picture -> why it cannot be read."""
LOOKING = 4
"""Threads that read headers, which Python does in one of them at a time: sixteen take twice as long."""
logging.getLogger("PIL").addHandler(logging.NullHandler())  # or what it says of a malformed file goes to stderr


def common_shape(paths: Sequence[Path]) -> tuple[int, tuple[int, int] | None, Unread]:
    """Of many pictures: 1 channel if all are grey, else 3; the (height, width) that they share, or None; and those
    that cannot be read, which do not count."""

    def look_at(some: Sequence[Path]) -> Iterator[Any]:
        return (guarded(look, path) for path in some)

    looks = _each(look_at, paths, "looking at the pictures", LOOKING)
    unread = {place: each for place, each in enumerate(looks) if isinstance(each, Problem)}
    seen = [each for each in looks if not isinstance(each, Problem)]
    sizes = {size for size, _ in seen}
    return max((channels for _, channels in seen), default=3), sizes.pop() if len(sizes) == 1 else None, unread


def decode_all(paths: Sequence[Path], channels: int, size: Size, doing: str, into: Tensor | None = None) -> Unread:
    """Many pictures into a tensor (N, H, W, channels) uint8, or None to see whether they can be read.

    Args:
        doing: what the bar says.
    """

    def fill(some: Sequence[tuple[int, Path]]) -> Iterator[Problem | None]:
        decoded = decode_some([path for _, path in some], channels, size)
        for (place, _), found in zip(some, decoded, strict=True):
            if isinstance(found, Problem):
                yield found
            else:
                if into is not None:
                    into[place] = found.permute(1, 2, 0)
                yield None

    found = _each(fill, list(enumerate(paths)), doing)
    return {place: problem for place, problem in enumerate(found) if problem is not None}


def try_decode_each(paths: Sequence[Path], channels: int, size: Size) -> dict[Path, Tensor | Problem]:
    """Each picture as `decode` gives it, or why it cannot be read."""
    decoded = _each(functools.partial(decode_some, channels=channels, size=size), paths, "decoding")
    return dict(zip(paths, decoded, strict=True))


def _each(
    function: Callable[[Sequence[T]], Iterable[Any]], items: Sequence[T], doing: str, most: int | None = None
) -> list[Any]:
    """What the function gives for each of some items, several at a time: one by one, threads would wait for each
    other most of the time.

    Args:
        most: threads; None for one a core.
    """
    cores = os.cpu_count() or 1
    threads = min(cores, most or cores)
    together = max(1, min(TOGETHER, len(items) // (4 * threads)))
    parts = [items[start : start + together] for start in range(0, len(items), together)]
    found: list[Any] = []
    with (
        without_warnings(),
        ThreadPoolExecutor(threads) as pool,
        tqdm(desc=doing, total=len(items), leave=False, disable=None, unit=" pictures", delay=1) as bar,
    ):
        for part in pool.map(lambda some: list(function(some)), parts):
            found += part
            bar.update(len(part))
    return found
