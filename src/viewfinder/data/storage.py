"""Where decoded pictures are kept: in memory, in a file that is mapped into memory, or nowhere."""

import hashlib
import math
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import psutil
import torch
from torch import Tensor

from viewfinder.data.batches import Pictures, StreamedPictures
from viewfinder.data.decode_parallel import Unread, decode_all
from viewfinder.data.resize import Resize
from viewfinder.data.split import Rows
from viewfinder.errors import Problem, UserError
from viewfinder.runs.cache_dir import cache_folder

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
    unread: dict[str, Unread]
    """split -> those that cannot be read, which `pictures` lack"""


def keep(
    files: Files, channels: int, resize: Resize, storage: Storage, workers: int | None, skip: bool = False
) -> Kept:
    """The pictures of each split that can be read, where they fit: in memory, a cache on disk, or their files alone.

    A file in the cache folder is known by its pictures' paths, sizes and times of change, and by how they are decoded.

    Args:
        channels: 1 or 3.
        resize: to decode by.
        storage: where; auto takes the first that they fit.
        workers: processes that decode ahead where nothing is kept; None takes as many as there are cores.
        skip: whether training may go on without pictures that cannot be read: then those that are to be streamed
            are all tried beforehand.

    Raises:
        UserError: if they are to be on disk and do not fit.
    """
    count = sum(len(paths) for paths, _ in files.values())
    shape = (resize.height, resize.width, channels)
    size = count * math.prod(shape)
    memory, cache = psutil.virtual_memory().available, cache_folder() / "pictures"
    disk = shutil.disk_usage(_existing(cache)).free
    if storage == "auto":
        storage = "memory" if size <= SHARE * memory else "disk" if size <= SHARE * disk else "stream"
    why = f"{gigabytes(size)} decoded; {gigabytes(memory)} of memory and {gigabytes(disk)} of disk are free"
    workers = workers or os.cpu_count() or 1
    found: dict[str, Pictures] = {}
    unread: dict[str, Unread] = {}
    for name, (paths, labels) in files.items():
        base = None
        if storage == "disk":
            base, unread[name] = _cached(cache, paths, channels, resize, name, skip)
        elif storage == "memory":
            base = torch.empty(len(paths), *shape, dtype=torch.uint8)
            unread[name] = decode_all(paths, channels, resize, f"decoding {name} pictures", base)
        else:
            doing = f"trying {name} pictures, to leave out those that cannot be read"
            unread[name] = decode_all(paths, channels, resize, doing) if skip else {}
        left = torch.tensor([place for place in range(len(paths)) if place not in unread[name]], dtype=torch.int64)
        if base is not None:
            found[name] = Pictures(Rows(base, left), labels[left])
        else:
            found[name] = StreamedPictures([paths[place] for place in left], labels[left], channels, resize, workers)
    said = {
        "memory": f"in memory ({why})",
        "disk": f"in {cache} ({why})",
        "stream": f"decoded as they are needed, by {workers} processes ({why})",
    }
    return Kept(found, storage, said[storage], unread)


def _cached(
    cache: Path, paths: Sequence[Path], channels: int, resize: Resize, name: str, skip: bool
) -> tuple[Tensor, Unread]:
    """(N, H, W, C) uint8, mapped from a file of the cache, which is written where there is none yet; and its gaps."""
    facts = [(str(path.resolve()), *_state(path)) for path in paths]
    key = hashlib.blake2b(
        repr((channels, tuple(resize), facts)).encode("utf-8", "surrogateescape"), digest_size=16
    ).hexdigest()
    file, gaps, beside = cache / f"{key}.npy", cache / f"{key}.gaps.npy", cache / f".{key}.{os.getpid()}.npy"
    if not file.exists():
        try:
            cache.mkdir(parents=True, exist_ok=True)
            whole = (len(paths), resize.height, resize.width, channels)
            mapped = np.lib.format.open_memmap(beside, mode="w+", dtype=np.uint8, shape=whole)
            base = torch.from_numpy(mapped)
            unread = decode_all(paths, channels, resize, f"decoding {name} pictures", base)
            if unread and not skip:
                return base, unread
            mapped.flush()
            if unread:
                np.save(gaps, np.array(list(unread)))
            beside.replace(file)
        except OSError as error:
            remedy = "Make room there, move it by XDG_CACHE_HOME=PATH, or use data.storage=stream."
            raise UserError(
                "the cache of decoded pictures", [Problem("data.storage", f"{cache}: {error.strerror}", "disk", remedy)]
            ) from error
        finally:
            beside.unlink(missing_ok=True)
    # Copy-on-write, since torch knows no tensor that is only read.
    base = torch.from_numpy(np.load(file, mmap_mode="c"))
    # Tried anew each time: what was wrong may have been no part of the file, such as who may read it.
    places = np.load(gaps).tolist() if gaps.exists() else []
    again = torch.empty(len(places), *base.shape[1:], dtype=torch.uint8)
    unread = decode_all([paths[place] for place in places], channels, resize, f"decoding {name} pictures", again)
    for number, place in enumerate(places):
        base[place] = again[number]
    return base, {places[number]: problem for number, problem in unread.items()}


def _state(path: Path) -> tuple[int, int]:
    """Size and time of change, by which a picture in the cache is known; zeros of one that is not there."""
    try:
        facts = path.stat()
    except OSError:
        return 0, 0
    return facts.st_size, facts.st_mtime_ns


def _existing(path: Path) -> Path:
    return next(folder for folder in (path, *path.parents) if folder.exists())


def gigabytes(count: float) -> str:
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.1f} MiB"
