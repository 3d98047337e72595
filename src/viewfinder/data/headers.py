"""Channels and sizes of images, from file headers alone."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from viewfinder.data.decode import catch_problem
from viewfinder.data.decode_parallel import Unreadable, decode_all, map_in_threads
from viewfinder.data.files import open_stable
from viewfinder.data.split import ImageRows, Split
from viewfinder.data.unreadable import OnError
from viewfinder.errors import Problem

GREY_MODES = ("1", "L", "LA", "La", "I;16", "I", "F")
EXIF_ORIENTATION = 0x0112
MAX_THREADS = 4
"""Threads that read headers; more are slower, because Pillow holds the interpreter lock."""


def inspect_splits(
    splits: Mapping[str, Split], on_error: OnError
) -> tuple[int, tuple[int, int] | None, dict[str, Unreadable]]:
    """Return the channels and the shared size of all images, and the unreadable ones of each split.

    If a header is invalid and `on_error` is "raise", all images are decoded, so that one error lists every bad one.

    Returns:
        The channels, (height, width) of the files or None if they differ, and split -> unreadable images.
    """
    contents = {name: split.content for name, split in splits.items()}
    channels = next((rows.base.shape[3] for rows in contents.values() if isinstance(rows, ImageRows)), 0)
    files = {name: content for name, content in contents.items() if not isinstance(content, ImageRows)}
    if not files:
        return channels, None, {}
    paths = [path for content in files.values() for path in content]
    channels, shared_size, unreadable = find_common_shape(paths)
    if unreadable and on_error == "raise":
        unreadable |= decode_all(paths, 3, (1, 1), "checking all images, because some are unreadable")
        unreadable = dict(sorted(unreadable.items()))
    ends = np.cumsum([len(content) for content in files.values()]).tolist()
    by_split = {
        name: {index - start: problem for index, problem in unreadable.items() if start <= index < end}
        for name, start, end in zip(files, [0, *ends], ends, strict=False)
    }
    return channels, shared_size, by_split


def find_common_shape(paths: Sequence[Path]) -> tuple[int, tuple[int, int] | None, Unreadable]:
    """Return the channels and the size that image files share.

    Returns:
        1 channel if all images are grey, else 3; (height, width), or None if they differ; and the unreadable files,
        which are ignored.
    """

    def read_headers(part: Sequence[Path]) -> Iterator[Any]:
        return (catch_problem(read_header, path) for path in part)

    headers = map_in_threads(read_headers, paths, "reading image headers", MAX_THREADS)
    unreadable = {index: header for index, header in enumerate(headers) if isinstance(header, Problem)}
    valid = [header for header in headers if not isinstance(header, Problem)]
    sizes = {size for size, _ in valid}
    return max((channels for _, channels in valid), default=3), sizes.pop() if len(sizes) == 1 else None, unreadable


def read_header(path: Path) -> tuple[tuple[int, int], Literal[1, 3]]:
    """Return ((height, width), channels) of an image as `decode_image` would return it, from its header alone."""
    with open_stable(path) as file, Image.open(file) as image:
        # Pillow applies the orientation to the size of a TIFF, but not to the sizes of other formats.
        is_transposed = image.format != "TIFF" and image.getexif().get(EXIF_ORIENTATION, 1) >= 5
        height, width = (image.width, image.height) if is_transposed else (image.height, image.width)
        return (height, width), 1 if image.mode in GREY_MODES or image.mode.startswith("I;16") else 3
