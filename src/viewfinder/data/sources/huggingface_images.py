"""Images of a Hugging Face data set: those of one size in memory, others in files of the cache folder."""

import hashlib
import io
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import torch
from torch import Tensor

from viewfinder.data.decode import to_tensor
from viewfinder.data.decode_parallel import map_in_threads
from viewfinder.data.files import escape_path, open_stable
from viewfinder.data.formats import open_image
from viewfinder.data.headers import read_shape
from viewfinder.data.image_file import catch_problem, load_image
from viewfinder.data.memory import HOST_SHARE
from viewfinder.data.resources import free_memory
from viewfinder.data.split import ImageRows
from viewfinder.errors import Problem, UserError, join_first
from viewfinder.runs.cache_dir import cache_folder, read_file_state

MAX_NAMED = 3
"""Rows named in a sentence."""


class Header(NamedTuple):
    """Facts about an image, from the start of its file."""

    size: tuple[int, int] | None
    """(height, width); None if the image is unreadable"""
    channels: int
    suffix: str
    length: int
    """bytes of an image that is embedded"""
    digest: bytes
    path: str
    """path of an image that is not embedded"""


def read_images(
    splits: Mapping[str, Any], column: str, folders: Sequence[Path]
) -> Mapping[str, ImageRows | np.ndarray]:
    """Return the images of each split: in memory if they share a size and there is room, or else as files.

    Args:
        splits: split -> data set.
        column: name of the column with the images.
        folders: folders of images that are not embedded; a row that names a file elsewhere is refused.

    Raises:
        UserError: naming each split with rows without an image, or if files cannot be written.
    """
    encoded = {split: _without_decoding(dataset, column) for split, dataset in splits.items()}
    headers = {split: _map_rows(_read_header, data, column, f"reading {split}") for split, data in encoded.items()}
    if problems := [problem for split in headers for problem in _find_problems(split, headers[split], folders)]:
        raise UserError("the data", problems)
    flat = [header for by_row in headers.values() for header in by_row]
    sizes = {header.size for header in flat}
    if len(sizes) == 1 and (size := sizes.pop()) is not None:
        channels = max(header.channels for header in flat)
        if len(flat) * math.prod(size) * channels <= HOST_SHARE * free_memory():
            decoded = {split: _decode(data, column, size, channels, split) for split, data in encoded.items()}
            if all(pixels is not None for pixels in decoded.values()):
                return {split: ImageRows(pixels) for split, pixels in decoded.items() if pixels is not None}
    return _write_files(encoded, headers, column)


def _without_decoding(dataset: Any, column: str) -> Any:
    from datasets import Image as ImageFeature

    dataset = dataset.select_columns([column])
    is_feature = type(dataset.features[column]).__name__ == "Image"
    return (dataset.cast_column(column, ImageFeature(decode=False)) if is_feature else dataset).with_format("arrow")


def _read_rows(dataset: Any, column: str, part: Sequence[int]) -> list[Any]:
    """Return consecutive rows of a data set as {"bytes", "path"}."""
    return dataset[part[0] : part[-1] + 1][column].to_pylist()


def _map_rows(function: Any, dataset: Any, column: str, description: str) -> list[Any]:
    """Return a function's results for all rows of a data set."""

    def map_part(part: Sequence[int]) -> Iterator[Any]:
        return map(function, _read_rows(dataset, column, part))

    return map_in_threads(map_part, range(len(dataset)), f"{description} images")


def _open(row: Mapping[str, Any]) -> AbstractContextManager[BinaryIO]:
    """Open an image, which is embedded or in a file."""
    return io.BytesIO(row["bytes"]) if row["bytes"] is not None else open_stable(Path(row["path"]))


def _read_header(row: Mapping[str, Any] | None) -> Header | None:
    if row is None or (row["bytes"] is None and not row.get("path")):
        return None
    content = row["bytes"] or b""
    embedded = (len(content), hashlib.blake2b(content, digest_size=16).digest())
    path = "" if row["bytes"] is not None else row["path"]
    try:
        with _open(row) as file, open_image(file, Path(row.get("path") or "image")) as image:
            return Header(*read_shape(image), f".{(image.format or '').lower()}", *embedded, path)
    except Exception:  # what is wrong is found when the file is read
        return Header(None, 3, "", *embedded, path)


def _find_problems(split: str, headers: Sequence[Header | None], folders: Sequence[Path]) -> list[Problem]:
    empty = [str(row) for row, header in enumerate(headers) if header is None]
    named = [Path(os.path.normpath(header.path)) for header in headers if header and header.path]
    outside = [escape_path(path) for path in named if not any(map(path.is_relative_to, folders))]
    absent = [escape_path(path) for path in named if any(map(path.is_relative_to, folders)) and not path.is_file()]
    problems = []
    if empty:
        rule = f"{len(empty):,} of {len(headers):,} rows have no image: {join_first(empty, MAX_NAMED)}"
        problems.append(Problem(f"the {split} split", rule, remedy="Remove these rows."))
    for paths, state in ((absent, "missing"), (outside, "outside data.path")):
        if paths:
            rule = f"{len(paths):,} of {len(headers):,} images are not embedded, and their files are {state}: "
            remedy = "Save the data set again where the files are, with to_parquet, which embeds them."
            problems.append(Problem(f"the {split} split", rule + join_first(paths, MAX_NAMED), remedy=remedy))
    return problems


def _decode(dataset: Any, column: str, size: tuple[int, int], channels: int, split: str) -> Tensor | None:
    """Return the images of a split, (N, H, W, C) uint8; None if one cannot be decoded."""
    pixels = torch.empty(len(dataset), *size, channels, dtype=torch.uint8)

    def decode(row: Mapping[str, Any]) -> Any:
        def load(path: Path) -> Tensor:
            with _open(row) as file:
                return to_tensor(load_image(file, path, channels)).permute(1, 2, 0)

        return catch_problem(load, Path(row.get("path") or "image"))

    def decode_part(part: Sequence[int]) -> Iterator[bool]:
        for index, row in zip(part, _read_rows(dataset, column, part), strict=True):
            image = decode(row)
            is_readable = not isinstance(image, Problem)
            if is_readable:
                pixels[index] = image
            yield is_readable

    readable = map_in_threads(decode_part, range(len(dataset)), f"decoding {split} images")
    return pixels if all(readable) else None


def _write_files(
    encoded: Mapping[str, Any], headers: Mapping[str, Sequence[Header]], column: str
) -> dict[str, np.ndarray]:
    """Write embedded images to files in the cache folder, once for each data set, and return all paths.

    A file of another size than its image is written again: after a power loss, it may be empty.

    Raises:
        UserError: if the cache folder cannot be written.
    """
    digest = hashlib.blake2b(digest_size=16)
    for split, by_row in headers.items():
        digest.update(f"{split} {len(by_row)}".encode())
        digest.update(b"".join(header.digest for header in by_row))
    folder = cache_folder() / "huggingface" / digest.hexdigest()
    paths = {
        split: [Path(h.path) if h.path else folder / split / f"{row:07}{h.suffix}" for row, h in enumerate(by_row)]
        for split, by_row in headers.items()
    }
    try:
        for split, dataset in encoded.items():
            sizes = [read_file_state(path)[0] for path in paths[split]]
            rows = [row for row, header in enumerate(headers[split]) if not header.path and sizes[row] != header.length]
            if rows:
                (folder / split).mkdir(parents=True, exist_ok=True)
                _write_rows(dataset.select(rows), column, [paths[split][row] for row in rows], split)
    except OSError as error:
        remedy = "Free disk space, or move the cache with XDG_CACHE_HOME=PATH."
        problem = Problem(str(folder), f"cannot be written: {error.strerror}", remedy=remedy)
        raise UserError("the cache of images", [problem]) from error
    return {split: np.array(of_split, dtype=object) for split, of_split in paths.items()}


def _write_rows(dataset: Any, column: str, paths: Sequence[Path], split: str) -> None:
    def write_part(part: Sequence[int]) -> Iterator[None]:
        for index, row in zip(part, _read_rows(dataset, column, part), strict=True):
            temporary = paths[index].with_name(f".{paths[index].stem}.{os.getpid()}")  # others may read the file
            temporary.write_bytes(row["bytes"])
            temporary.replace(paths[index])
            yield None

    map_in_threads(write_part, range(len(dataset)), f"writing {split} images")
