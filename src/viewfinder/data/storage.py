"""Where decoded pictures are kept: in memory, in a file that is mapped into memory, or nowhere."""

import hashlib
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import psutil
import torch
from torch import Tensor

from viewfinder.cache import cache_folder
from viewfinder.data.batches import Pictures, StreamedPictures
from viewfinder.data.decode import decode_all
from viewfinder.data.split import Rows
from viewfinder.errors import Problem, ViewfinderError

Storage = Literal["auto", "memory", "disk", "stream"]
SHARE = 0.5
"""Of the memory or disk that is free, what decoded pictures may take."""
Files = Mapping[str, tuple[list[Path], Tensor]]
"""Split -> paths and labels."""


class Kept(NamedTuple):
    pictures: dict[str, Pictures]
    storage: Storage
    said: str
    """where they are and why, for a person"""


def keep(files: Files, shape: tuple[int, int, int], storage: Storage, workers: int | None) -> Kept:
    """The pictures of each split, kept where they fit: in memory, else in a cache on disk, else in their files alone.

    A file in the cache folder is known by its pictures' paths, sizes and times of change, and by the shape.

    Args:
        shape: (C, H, W) to decode to.
        storage: where; auto takes the first that they fit.
        workers: processes that decode ahead where nothing is kept; None takes as many as there are cores.

    Raises:
        ViewfinderError: naming the pictures that cannot be read; or if they are to be on disk and do not fit.
    """
    size = sum(len(paths) for paths, _ in files.values()) * int(np.prod(shape))
    memory, cache = psutil.virtual_memory().available, cache_folder() / "pictures"
    disk = shutil.disk_usage(_existing(cache)).free
    if storage == "auto":
        storage = "memory" if size <= SHARE * memory else "disk" if size <= SHARE * disk else "stream"
    why = f"{gigabytes(size)} decoded; {gigabytes(memory)} of memory and {gigabytes(disk)} of disk are free"
    if storage == "stream":
        workers = workers or os.cpu_count() or 1
        streamed = {name: StreamedPictures(*each, shape, workers) for name, each in files.items()}
        return Kept(dict(streamed), storage, f"decoded as they are needed, by {workers} processes ({why})")
    found: dict[str, Pictures] = {}
    for name, (paths, labels) in files.items():
        if storage == "disk":
            base = _cached(cache, paths, shape, name)
        else:
            base = torch.empty(len(paths), *shape[1:], shape[0], dtype=torch.uint8)
            decode_all(paths, shape[0], shape[1:], f"{name} pictures", base)
        found[name] = Pictures(Rows(base), labels)
    return Kept(found, storage, f"in memory ({why})" if storage == "memory" else f"in {cache} ({why})")


def _cached(cache: Path, paths: Sequence[Path], shape: tuple[int, int, int], name: str) -> Tensor:
    """(N, H, W, C) uint8, mapped from a file of the cache, which is written where there is none yet."""
    facts = [(str(path.resolve()), (stat := path.stat()).st_size, stat.st_mtime_ns) for path in paths]
    key = hashlib.blake2b(repr((shape, facts)).encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()
    file, beside = cache / f"{key}.npy", cache / f".{key}.{os.getpid()}.npy"
    if not file.exists():
        try:
            cache.mkdir(parents=True, exist_ok=True)
            whole = (len(paths), *shape[1:], shape[0])
            mapped = np.lib.format.open_memmap(beside, mode="w+", dtype=np.uint8, shape=whole)
            decode_all(paths, shape[0], shape[1:], f"{name} pictures", torch.from_numpy(mapped))
            mapped.flush()
            beside.replace(file)
        except OSError as error:
            remedy = "Make room there, move it by XDG_CACHE_HOME=PATH, or use data.storage=stream."
            raise ViewfinderError(
                "the cache of decoded pictures", [Problem("data.storage", f"{cache}: {error.strerror}", "disk", remedy)]
            ) from error
        finally:
            beside.unlink(missing_ok=True)
    # Copy-on-write, since torch knows no tensor that is only read.
    return torch.from_numpy(np.load(file, mmap_mode="c"))


def _existing(path: Path) -> Path:
    return next(folder for folder in (path, *path.parents) if folder.exists())


def gigabytes(count: float) -> str:
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.1f} MiB"
