"""Disk cache of decoded images, mapped into memory."""

import contextlib
import errno
import hashlib
import os
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock, Timeout
from torch import Tensor

from viewfinder.data.decode_parallel import Unreadable, decode_all
from viewfinder.data.decoder import describe_decoder
from viewfinder.data.fingerprint import hash_files
from viewfinder.data.resize import Resize
from viewfinder.errors import Problem, UserError
from viewfinder.runs.atomic import read_json, write_json
from viewfinder.runs.cache_dir import evict_least_recent, measure_entries, read_file_state

MAX_FOLDER_BYTES = 200 * 2**30
"""Size of the folder beyond which the least recently used files are removed."""
UNFINISHED_SECONDS = 24 * 60 * 60
"""Age of a file that a killed process left unfinished, after which it is removed."""


class ImageCache:
    """Cache of decoded images: each split in <key>.npy, its unreadable images in <key>.json.

    The key covers the content of the image files, and everything that decodes them.

    Args:
        folder: the cache folder; created when images are written.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.used: set[str] = set()
        """keys of the loaded splits"""
        self.files: dict[str, Path] = {}
        """split -> file that holds its images, as they were loaded"""
        self.freed = 0
        """bytes of other images that were removed"""

    def size(self) -> int:
        """Return the bytes of all cached images."""
        return sum(size for size, _, _ in measure_entries(self.folder, "npy", "json"))

    def load(
        self, paths: Sequence[Path], channels: int, resize: Resize, split: str, skip_unreadable: bool
    ) -> tuple[Tensor, Unreadable]:
        """Return the decoded images of a split from the cache; if they are missing, decode and write them.

        Args:
            split: name of the split, for the progress bars.
            skip_unreadable: whether to write a file that lacks the unreadable images.

        Returns:
            (N, H, W, C) uint8, mapped copy-on-write, and the unreadable images.

        Raises:
            UserError: if the cache cannot be written.
        """
        states = [read_file_state(path) for path in paths]
        digests = hash_files(paths, f"looking up {split} images in the cache")
        content = repr((channels, tuple(resize), describe_decoder(), digests)).encode()
        key = hashlib.blake2b(content, digest_size=16).hexdigest()
        self.used.add(key)
        shape = (len(paths), resize.height, resize.width, channels)
        if (cached := self._open(key, shape, split)) is not None:
            return self._retry(*cached, paths, channels, resize, split)
        temporary = self.folder / f".{key}.{os.getpid()}.npy"
        lock = FileLock(self.folder / f"{key}.lock")
        try:
            self._make_room(np.prod(shape, dtype=int).item())
            _wait(lock, split)
            if (cached := self._open(key, shape, split)) is not None:  # decoded by another process in the meantime
                return self._retry(*cached, paths, channels, resize, split)
            mapped = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.uint8, shape=shape)
            _reserve_room(temporary)
            base = torch.from_numpy(mapped)
            unreadable = decode_all(paths, channels, resize, f"decoding {split} images", base)
            # Of a file that has changed since it was hashed, the key belongs to its earlier content.
            is_changed = states != [read_file_state(path) for path in paths]
            if is_changed or (unreadable and not skip_unreadable):
                return base, unreadable
            mapped.flush()
            write_json(self.folder / f"{key}.json", {"unreadable": list(unreadable)})
            temporary.replace(self.folder / f"{key}.npy")
        except OSError as error:
            remedy = "Free disk space, move the cache with XDG_CACHE_HOME=PATH, or set data.storage=stream."
            problem = Problem(str(self.folder), f"cannot be written: {error.strerror}", remedy=remedy)
            raise UserError("the cache of decoded images", [problem]) from error
        finally:
            temporary.unlink(missing_ok=True)
            lock.release()
            if not (self.folder / f"{key}.npy").exists():
                Path(lock.lock_file).unlink(missing_ok=True)
        stored = self._open(key, shape, split)
        return (base if stored is None else stored[0]), unreadable

    def _open(self, key: str, shape: tuple[int, ...], split: str) -> tuple[Tensor, list[int]] | None:
        """Return cached images and the indices of the unreadable ones; None if they are missing or damaged."""
        index = self.folder / f"{key}.json"
        try:
            gaps = read_json(index)["unreadable"]
            # Copy-on-write, because torch has no read-only tensors.
            mapped = np.load(self.folder / f"{key}.npy", mmap_mode="c")
        except (OSError, ValueError, KeyError, TypeError):
            return None
        with contextlib.suppress(OSError):
            os.utime(index)  # marks it as recently used
        if (mapped.shape, mapped.dtype) != (shape, np.uint8):
            return None
        if not gaps:  # which would be filled in memory alone
            self.files[split] = self.folder / f"{key}.npy"
        return torch.from_numpy(mapped), gaps

    def _retry(
        self, base: Tensor, gaps: list[int], paths: Sequence[Path], channels: int, resize: Resize, split: str
    ) -> tuple[Tensor, Unreadable]:
        """Decode the images that were unreadable again, because the cause may not be the files' content."""
        retried = torch.empty(len(gaps), *base.shape[1:], dtype=torch.uint8)
        description = f"decoding {split} images"
        unreadable = decode_all([paths[index] for index in gaps], channels, resize, description, retried)
        for row, index in enumerate(gaps):
            base[index] = retried[row]
        return base, {gaps[row]: problem for row, problem in unreadable.items()}

    def _make_room(self, size: int) -> None:
        """Create the folder, and remove unfinished files and the least recently used images for a file of this size.

        Raises:
            OSError: if the disk has no room for it.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        for path in self.folder.glob(".*.npy"):
            if time.time() - read_file_state(path)[1] / 1e9 > UNFINISHED_SECONDS:
                path.unlink(missing_ok=True)
        available = self.size() + shutil.disk_usage(self.folder).free
        if size > available:  # before other images are removed
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        max_bytes = max(0, int(min(MAX_FOLDER_BYTES, available)) - size)
        self.freed += evict_least_recent(self.folder, max_bytes, self.used, content="npy", index="json")


def _wait(lock: FileLock, split: str) -> None:
    """Acquire the lock on a split's images, and say if another process decodes them now."""
    try:
        lock.acquire(blocking=False)
    except NotImplementedError:  # a file system without locks
        return
    except Timeout:
        print(f"waiting for another process that decodes the {split} images", file=sys.stderr)
        lock.acquire()


def _reserve_room(path: Path) -> None:
    """Reserve the disk space of a file, where the system can: writing to a mapped file on a full disk ends the process.

    Raises:
        OSError: if the disk is full.
    """
    if not hasattr(os, "posix_fallocate"):  # as on macOS
        return
    with path.open("r+b") as file:
        try:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):  # a file system without this call
                raise
