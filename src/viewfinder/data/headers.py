"""Channels, sizes and content keys of images, from the starts of their files."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from viewfinder.data.decode_parallel import Unreadable, decode_all, map_in_threads
from viewfinder.data.duplicates import compute_content_key
from viewfinder.data.files import open_stable
from viewfinder.data.formats import open_image
from viewfinder.data.image_file import catch_problem
from viewfinder.data.split import ImageRows, Split
from viewfinder.data.unreadable import OnError
from viewfinder.errors import Problem

GREY_MODES = ("1", "L", "LA", "La", "I;16", "I", "F")
EXIF_ORIENTATION = 0x0112
MAX_THREADS = 4
"""Threads that read headers; more are slower, because Pillow holds the interpreter lock."""


def inspect_splits(
    splits: Mapping[str, Split], on_error: OnError
) -> tuple[int, tuple[int, int] | None, dict[str, Unreadable], dict[str, list[int]]]:
    """Return the channels and the shared size of all images, and the unreadable ones of each split.

    If a header is invalid and `on_error` is "raise", all images are decoded, so that one error lists every bad one.

    Returns:
        The channels, (height, width) of the files or None if they differ, split -> unreadable images, and split ->
        content keys of its files, as `compute_content_key`.
    """
    contents = {name: split.content for name, split in splits.items()}
    channels = next((rows.base.shape[3] for rows in contents.values() if isinstance(rows, ImageRows)), 0)
    files = {name: content for name, content in contents.items() if not isinstance(content, ImageRows)}
    if not files:
        return channels, None, {}, {}
    paths = [path for content in files.values() for path in content]
    channels, shared_size, unreadable, keys = find_common_shape(paths)
    if unreadable and on_error == "raise":
        unreadable |= decode_all(paths, 3, (1, 1), "checking all images, because some are unreadable")
        unreadable = dict(sorted(unreadable.items()))
    ends = np.cumsum([len(content) for content in files.values()]).tolist()
    ranges = {name: (start, end) for name, start, end in zip(files, [0, *ends], ends, strict=False)}
    unreadable_by_split = {
        name: {index - start: problem for index, problem in unreadable.items() if start <= index < end}
        for name, (start, end) in ranges.items()
    }
    keys_by_split = {name: keys[start:end] for name, (start, end) in ranges.items()}
    return channels, shared_size, unreadable_by_split, keys_by_split


def find_common_shape(paths: Sequence[Path]) -> tuple[int, tuple[int, int] | None, Unreadable, list[int]]:
    """Return the channels and the size that image files share.

    Returns:
        1 channel if all images are grey, else 3; (height, width), or None if they differ; the unreadable files, which
        are ignored; and a content key of each file.
    """

    def read_headers(part: Sequence[Path]) -> Iterator[Any]:
        return (catch_problem(read_header, path) for path in part)

    headers = map_in_threads(read_headers, paths, "reading image headers", MAX_THREADS)
    unreadable = {index: header for index, header in enumerate(headers) if isinstance(header, Problem)}
    valid = [header for header in headers if not isinstance(header, Problem)]
    sizes = {size for size, _, _ in valid}
    channels = max((channels for _, channels, _ in valid), default=3)
    keys = [~index if isinstance(header, Problem) else header[2] for index, header in enumerate(headers)]
    return channels, sizes.pop() if len(sizes) == 1 else None, unreadable, keys


def read_header(path: Path) -> tuple[tuple[int, int], Literal[1, 3], int]:
    """Return ((height, width), channels) of an image as `decode_image` would return it, and a key of its content."""
    with open_stable(path) as file:
        key = compute_content_key(file)
        with open_image(file, path) as image:
            return *read_shape(image), key


def read_shape(image: Image.Image) -> tuple[tuple[int, int], Literal[1, 3]]:
    """Return ((height, width), channels) of an opened image as `load_image` would return it, without decoding it."""
    # Pillow applies the orientation to the size of a TIFF, but not to the sizes of other formats.
    is_transposed = image.format != "TIFF" and image.getexif().get(EXIF_ORIENTATION, 1) >= 5
    height, width = (image.width, image.height) if is_transposed else (image.height, image.width)
    return (height, width), 1 if image.mode in GREY_MODES or image.mode.startswith("I;16") else 3
