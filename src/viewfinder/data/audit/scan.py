"""Facts and thumbnails of all images of a data set."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from viewfinder.data.batches import SplitImages
from viewfinder.data.decode_parallel import decode_all, map_in_threads
from viewfinder.data.files import open_stable
from viewfinder.data.fingerprint import hash_files
from viewfinder.data.formats import open_image
from viewfinder.data.headers import MAX_THREADS
from viewfinder.data.image_file import catch_problem
from viewfinder.data.resize import Resize
from viewfinder.data.split import ImageRows, Split
from viewfinder.data.table import Table
from viewfinder.errors import Problem

SIDE = 32
"""Height and width of a thumbnail in pixels."""
BLOCK = 4096
"""Images in memory at once that come from a tensor."""


class Scan(NamedTuple):
    """Facts of all images of a data set, split by split."""

    table: Table
    """a row for each image: split, name, label, group, fold, height, width, mode, content and problem; group and fold
    are missing if the data have none; content is equal for equal files, and missing for a file whose size no other has;
    problem is '' for a readable image"""
    thumbnails: Tensor
    """(N, SIDE, SIDE, 3) uint8 in a mapped file; unreadable images are black"""


def scan_images(splits: Mapping[str, Split], folder: Path) -> Scan:
    """Read all images once, in threads; memory does not grow with their size.

    Args:
        folder: folder for the file of the thumbnails; remove it after use.
    """
    count = sum(map(len, splits.values()))
    # Mapped, so that the system can write the thumbnails of millions of images out of memory.
    thumbnails = torch.from_numpy(np.memmap(folder / "thumbnails", np.uint8, "w+", shape=(count, SIDE, SIDE, 3)))
    parts, start = [], 0
    for name, split in splits.items():
        target = thumbnails[start : start + len(split)]
        if isinstance(split.content, ImageRows):
            facts = _scan_tensor(split.content, target)
        else:
            facts = _scan_files(list(split.content), name, target)
        given = {"group": split.groups, "fold": split.folds}
        columns = {"split": name, "name": split.names, "label": split.labels, **given, **facts}
        parts.append(pd.DataFrame(columns, index=range(start, start + len(split))))
        start += len(split)
    table = pd.concat(parts).astype({"content": object})
    files = {name: split.content for name, split in splits.items() if not isinstance(split.content, ImageRows)}
    if files:
        in_files = table["split"].isin([*files])
        paths = np.concatenate([*files.values()])
        table.loc[in_files, "content"] = _hash_equal_sizes(paths, table.loc[in_files, "content"].to_numpy())
    return Scan(table, thumbnails)


def _scan_tensor(rows: ImageRows, target: Tensor) -> dict[str, Any]:
    """Return facts of the images of a tensor, and write their thumbnails."""
    images = SplitImages(rows, torch.zeros(len(rows), dtype=torch.int64))
    resize, contents, start = Resize(SIDE, SIDE), [], 0
    for positions in torch.arange(len(rows)).split(BLOCK):
        pixels, _ = images.gather(positions)
        contents += [hash(image.numpy().tobytes()) for image in pixels]
        resized = resize.resize_pixels(pixels.float()).byte()
        target[start : start + len(positions)] = resized.expand(-1, 3, -1, -1).permute(0, 2, 3, 1)
        start += len(positions)
    channels, height, width = images.shape
    mode = "L" if channels == 1 else "RGB"
    return {"height": height, "width": width, "mode": mode, "content": contents, "problem": ""}


def _scan_files(paths: Sequence[Path], split: str, target: Tensor) -> dict[str, Any]:
    """Return facts of image files, with their sizes as content, and write their thumbnails."""
    problems = decode_all(paths, 3, (SIDE, SIDE), f"decoding {split} images", target)

    def read_headers(part: Sequence[Path]) -> list[Any]:
        return [catch_problem(_read_header, path) for path in part]

    headers = map_in_threads(read_headers, paths, f"reading headers of {split} images", MAX_THREADS)
    problems |= {index: header for index, header in enumerate(headers) if isinstance(header, Problem)}
    facts = [(0, 0, "", 0) if index in problems else header for index, header in enumerate(headers)]
    heights, widths, modes, sizes = zip(*facts, strict=True)
    rules = [problems[index].rule if index in problems else "" for index in range(len(paths))]
    return {"height": heights, "width": widths, "mode": modes, "content": sizes, "problem": rules}


def _read_header(path: Path) -> tuple[int, int, str, int]:
    """Return height, width and mode of an image file as it is stored, and the file's size."""
    with open_stable(path) as file, open_image(file, path) as image:
        return image.height, image.width, image.mode, path.stat().st_size


def _hash_equal_sizes(paths: np.ndarray, sizes: np.ndarray) -> list[Any]:
    """Return a hash of each file that another file equals in size, and None for all other files, which are not read."""
    repeated = np.flatnonzero(pd.Series(sizes).duplicated(keep=False) & (sizes > 0))
    hashes: list[Any] = [None] * len(paths)
    for position, digest in zip(repeated, hash_files(list(paths[repeated]), "comparing files"), strict=True):
        hashes[position] = digest or None
    return hashes
