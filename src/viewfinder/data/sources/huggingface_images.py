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
from PIL import Image
from torch import Tensor

from viewfinder.data.decode import to_tensor
from viewfinder.data.decode_parallel import map_in_threads
from viewfinder.data.files import escape_path, open_stable
from viewfinder.data.headers import EXIF_ORIENTATION, GREY_MODES
from viewfinder.data.image_file import catch_problem, load_image
from viewfinder.data.memory import HOST_SHARE
from viewfinder.data.resources import free_memory
from viewfinder.data.split import ImageRows
from viewfinder.errors import Problem, UserError, join_first
from viewfinder.runs.atomic import write_json
from viewfinder.runs.cache_dir import cache_folder

MAX_NAMED = 3
"""Rows named in a sentence."""


class Header(NamedTuple):
    """Facts at the start of an image."""

    size: tuple[int, int] | None
    """(height, width); None if the image is unreadable"""
    channels: int
    suffix: str
    digest: bytes
    path: str
    """path of an image that is not embedded"""


def read_images(splits: Mapping[str, Any], column: str) -> Mapping[str, ImageRows | np.ndarray]:
    """Return the images of each split: in memory if they share a size and there is room, or else as files.

    Args:
        splits: split -> data set.
        column: name of the column with the images.

    Raises:
        UserError: naming each split with rows without an image, or if files cannot be written.
    """
    encoded = {split: _without_decoding(dataset, column) for split, dataset in splits.items()}
    headers = {split: _map_rows(_read_header, data, column, f"reading {split}") for split, data in encoded.items()}
    if problems := [problem for split in headers for problem in _find_problems(split, headers[split])]:
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
    digest = hashlib.blake2b(row["bytes"] or b"", digest_size=16).digest()
    path = "" if row["bytes"] is not None else row["path"]
    try:
        with _open(row) as file, Image.open(file) as image:
            turned = image.format != "TIFF" and image.getexif().get(EXIF_ORIENTATION, 1) >= 5
            size = (image.width, image.height) if turned else (image.height, image.width)
            is_grey = image.mode in GREY_MODES or image.mode.startswith("I;16")
            return Header(size, 1 if is_grey else 3, f".{(image.format or '').lower()}", digest, path)
    except Exception:  # what is wrong is found when the file is read
        return Header(None, 3, "", digest, path)


def _find_problems(split: str, headers: Sequence[Header | None]) -> list[Problem]:
    empty = [str(row) for row, header in enumerate(headers) if header is None]
    outside = [Path(header.path) for header in headers if header and header.path]
    absent = [escape_path(path) for path in outside if not (path.is_absolute() and path.is_file())]
    problems = []
    if empty:
        rule = f"{len(empty):,} of {len(headers):,} rows have no image: {join_first(empty, MAX_NAMED)}"
        problems.append(Problem(f"the {split} split", rule, remedy="Remove these rows."))
    if absent:
        rule = f"{len(absent):,} of {len(headers):,} images are not embedded, and their files are missing: "
        remedy = "Save the data set again where the files are, with to_parquet, which embeds them."
        problems.append(Problem(f"the {split} split", rule + join_first(absent, MAX_NAMED), remedy=remedy))
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
    mark = folder / "complete.json"
    if not mark.is_file() and any(not header.path for by_row in headers.values() for header in by_row):
        try:
            for split, dataset in encoded.items():
                (folder / split).mkdir(parents=True, exist_ok=True)
                _write_split(dataset, column, headers[split], paths[split], split)
            write_json(mark, {"images": {split: len(of_split) for split, of_split in paths.items()}})
        except OSError as error:
            remedy = "Free disk space, or move the cache with XDG_CACHE_HOME=PATH."
            problem = Problem(str(folder), f"cannot be written: {error.strerror}", remedy=remedy)
            raise UserError("the cache of images", [problem]) from error
    return {split: np.array(of_split, dtype=object) for split, of_split in paths.items()}


def _write_split(dataset: Any, column: str, headers: Sequence[Header], paths: Sequence[Path], split: str) -> None:
    def write_part(part: Sequence[int]) -> Iterator[None]:
        for index, row in zip(part, _read_rows(dataset, column, part), strict=True):
            if not headers[index].path:
                temporary = paths[index].with_name(f".{index}.{os.getpid()}")  # others may read the file
                temporary.write_bytes(row["bytes"])
                temporary.replace(paths[index])
            yield None

    map_in_threads(write_part, range(len(dataset)), f"writing {split} images")
