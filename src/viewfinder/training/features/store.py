"""File of a split's features that grows block by block, or memory if no file can be written."""

import contextlib
import json
import os
import re
import shutil
import time
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from filelock import FileLock, Timeout
from torch import Tensor
from tqdm import tqdm

from viewfinder.data.memory import HOST_SHARE, format_size
from viewfinder.data.resources import free_memory
from viewfinder.runs.atomic import replace_file
from viewfinder.runs.cache_dir import evict_least_recent
from viewfinder.runs.logging import log_wrapped

MAX_FOLDER_BYTES = 20 * 2**30
"""Size of the folder beyond which the least recently used files are removed."""
BLOCK = re.compile(r"([0-9]{1,18}) ([0-9a-f]{8})\n")
"""Line of an index: number of rows and CRC-32."""
STALL_SECONDS = 600.0
"""Seconds to wait for another process that adds no features."""
POLL_SECONDS = 1.0
"""Interval at which the progress of another process is read."""


class NoRoomError(Exception):
    """Neither disk nor memory has room for the features."""


class FeatureStore:
    """Features (N, D) float32: rows in <key>.rows, and per block a line with row count and CRC-32 in <key>.blocks.

    After a process was killed, the blocks whose checksums match are complete; an incomplete block is ignored.

    Args:
        folder: the cache folder; created if possible.
        key: key of these features.
        shape: (N, D).
        batch: rows per block; the last block may have fewer.
        facts: components of the key, written into the index for inspection.
    """

    def __init__(self, folder: Path, key: str, shape: tuple[int, int], batch: int, facts: Mapping[str, Any]):
        self.path, self.index = folder / f"{key}.rows", folder / f"{key}.blocks"
        self.shape, self.batch, self.facts = shape, batch, facts
        self.lock = FileLock(folder / f"{key}.lock")
        self.files: list[BinaryIO] = []
        self.in_memory: list[Tensor] = []
        self.damage = ""
        """defect of the existing files, or ''"""
        self.unwritable = ""
        """reason why no file can be written, or ''"""

    @property
    def nbytes(self) -> int:
        return 4 * self.shape[0] * self.shape[1]

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the lock on these features; while another process computes them, wait with a progress bar.

        After STALL_SECONDS without a new feature, this process computes its own.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._wait()
        except FileExistsError:
            self.unwritable = "is a file, not a folder"
        except OSError as error:  # the folder is read-only, and existing features can be read
            self.unwritable = str(error.strerror or error)
        try:
            yield
        finally:
            for file in self.files:
                file.close()
            self.lock.release()

    def _wait(self) -> None:
        with contextlib.suppress(Timeout):
            self.lock.acquire(blocking=False)
            return
        title = "waiting for another process that computes these features"
        log_wrapped(f"features {title}, and holds {self.lock.lock_file}")
        changed_at, count = time.monotonic(), 0
        with tqdm(desc=title, total=self.shape[0], leave=False, disable=None, unit=" images") as bar:
            while time.monotonic() - changed_at <= STALL_SECONDS:
                with contextlib.suppress(Timeout):
                    self.lock.acquire(timeout=POLL_SECONDS)
                    return
                with contextlib.suppress(OSError):
                    bar.n = self.path.stat().st_size // (4 * self.shape[1])
                bar.refresh()
                if bar.n != count:
                    changed_at, count = time.monotonic(), bar.n
        raise OSError(f"another process holds {self.lock.lock_file} and computes no features")

    def count_valid_rows(self) -> int:
        """Return the number of leading rows whose checksums match; `damage` describes the defect of the others."""
        try:
            head, *lines = self.index.read_text(encoding="utf-8").splitlines(keepends=True)
            shape = json.loads(head)["shape"]
        except (OSError, ValueError, KeyError, TypeError):
            self.damage = "damaged: unreadable index" if self.index.exists() else ""
            return 0
        count = 0
        try:
            if shape != list(self.shape):
                raise ValueError("shape differs")
            with self.path.open("rb") as file:
                for line in lines:
                    if not line.endswith("\n"):  # a process was killed while writing
                        break
                    if (entry := BLOCK.fullmatch(line)) is None:
                        raise ValueError("unreadable line of the index")
                    rows, checksum = entry.groups()
                    if int(rows) != min(self.batch, self.shape[0] - count) or count == self.shape[0]:
                        raise ValueError("block sizes differ")
                    block = file.read(4 * int(rows) * self.shape[1])
                    if len(block) != 4 * int(rows) * self.shape[1] or zlib.crc32(block) != int(checksum, 16):
                        raise ValueError("checksum mismatch")
                    count += int(rows)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            self.damage = f"damaged after {count:,} images ({reason})"
        if count == self.shape[0]:
            with contextlib.suppress(OSError):
                os.utime(self.index)  # marks it as recently used
        return count

    def open_for_append(self, count: int) -> None:
        """Prepare to append rows after the first `count` rows, which are already stored.

        Raises:
            NoRoomError: if neither disk nor memory has room.
        """
        try:
            if self.unwritable:
                raise OSError(self.unwritable)
            free = shutil.disk_usage(self.path.parent).free
            if self.nbytes - 4 * count * self.shape[1] > HOST_SHARE * free:
                raise OSError(f"needs {format_size(self.nbytes)}, but only {format_size(free)} of disk is free")
            # Another process may have mapped a complete file, so it is replaced and never truncated.
            lines = self.index.read_text(encoding="utf-8").splitlines(keepends=True) if count else []
            with replace_file(self.path) as temporary:
                (self._map(count).numpy() if count else np.empty(0)).tofile(temporary)
            with replace_file(self.index) as temporary:
                head = json.dumps({"shape": self.shape, **self.facts}) + "\n"
                temporary.write_text("".join([head, *lines[1 : 1 + -(-count // self.batch)]]), encoding="utf-8")
            self.files = [path.open("ab", buffering=0) for path in (self.path, self.index)]
        except OSError as error:
            self._move_to_memory(error, count)

    def append(self, rows: Tensor) -> None:
        """Append a block, (n, D) float32 on the CPU.

        Raises:
            NoRoomError: if the disk is full and memory has no room.
        """
        block = rows.numpy().tobytes()
        if self.files:
            size = os.fstat(self.files[0].fileno()).st_size
            try:
                _write(self.files[0], block)
                _write(self.files[1], f"{len(rows)} {zlib.crc32(block):08x}\n".encode())
                return
            except OSError as error:
                self._move_to_memory(error, size // (4 * self.shape[1]))
        self.in_memory.append(rows)

    def _move_to_memory(self, error: OSError, count: int) -> None:
        self.unwritable = str(error.strerror or error)
        available = free_memory()
        if self.nbytes > HOST_SHARE * available:
            rule = f"needs {format_size(self.nbytes)}, but only {format_size(available)} of memory is free"
            raise NoRoomError(f"{self.path.parent}: {self.unwritable}; {rule}") from error
        self.in_memory = [self._map(count).clone()] if count else []
        for file in self.files:
            file.close()
        if self.files:  # frees the disk for the run's own files
            self.files = []
            self.path.unlink(missing_ok=True)
            self.index.unlink(missing_ok=True)

    def load(self) -> Tensor:
        """Return all features, (N, D) float32, mapped from the file copy-on-write or from memory."""
        if self.in_memory:
            return torch.cat(self.in_memory)
        for file in self.files:
            os.fsync(file.fileno())
        return self._map(self.shape[0])

    def _map(self, count: int) -> Tensor:
        return torch.from_numpy(np.memmap(self.path, np.float32, "c", shape=(count, self.shape[1])))


def _write(file: BinaryIO, content: bytes) -> None:
    """Write all bytes; on a full disk, a single write may store only some of them."""
    remaining = memoryview(content)
    while remaining:
        remaining = remaining[file.write(remaining) :]


def evict(folder: Path, used: set[str]) -> int:
    """Remove the least recently used features until the folder fits MAX_FOLDER_BYTES; return the bytes freed.

    Args:
        used: keys that this run uses; they stay, as do features that another process is computing.
    """
    return evict_least_recent(folder, MAX_FOLDER_BYTES, used, content="rows", index="blocks")
