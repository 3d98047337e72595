"""Features of a split's pictures in a file that grows as they are computed; in memory where no file can be had."""

import contextlib
import json
import os
import re
import shutil
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import psutil
import torch
from filelock import FileLock, Timeout
from torch import Tensor
from tqdm import tqdm

from viewfinder.data.memory import HOST_SHARE, format_size
from viewfinder.runs.atomic import replace_file

LARGEST = 20 * 2**30
"""Bytes that the folder may hold; beyond, what was used longest ago is removed."""
BLOCK = re.compile(r"([0-9]{1,18}) ([0-9a-f]{8})\n")
"""A line of an index: count and CRC-32."""
LOOK = 1.0
"""Seconds between two looks at how far another process is."""


class NoRoomError(Exception):
    """Neither the disk nor the memory has room for the features."""


class KeptFeatures:
    """(N, D) float32 row by row: <key>.rows holds them, <key>.blocks a line with count and CRC-32 for each block.

    Whatever a process leaves that is killed, the blocks whose checksum holds are whole; a block that was cut off counts
    for nothing.

    Args:
        folder: of the cache; made if it can be.
        key: of these features.
        shape: (N, D).
        batch: rows a block; the last may have fewer.
        facts: what the key was made of, for a person who looks.
    """

    def __init__(self, folder: Path, key: str, shape: tuple[int, int], batch: int, facts: Mapping[str, Any]):
        self.path, self.index = folder / f"{key}.rows", folder / f"{key}.blocks"
        self.shape, self.batch, self.facts = shape, batch, facts
        self.lock = FileLock(folder / f"{key}.lock")
        self.files: list[BinaryIO] = []
        self.in_memory: list[Tensor] = []
        self.damage = ""
        """what is wrong with the files that were found"""
        self.unwritable = ""
        """why there is no file"""

    @property
    def nbytes(self) -> int:
        return 4 * self.shape[0] * self.shape[1]

    @contextlib.contextmanager
    def taken(self) -> Iterator[None]:
        """Within this block no other process computes these features; one that does is waited for, with a bar."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._wait()
        except FileExistsError:
            self.unwritable = "is a file, and no folder"
        except OSError as error:  # of a folder that cannot be written: what is there may be read all the same
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
        doing = "waiting for another process that computes these features"
        with tqdm(desc=doing, total=self.shape[0], leave=False, disable=None, unit=" pictures") as bar:
            while True:
                with contextlib.suppress(Timeout):
                    self.lock.acquire(timeout=LOOK)
                    return
                with contextlib.suppress(OSError):
                    bar.n = self.path.stat().st_size // (4 * self.shape[1])
                bar.refresh()

    def read(self) -> int:
        """How many rows are there, from the first on, whose checksums hold; `damage` says what is wrong with others."""
        try:
            head, *lines = self.index.read_text(encoding="utf-8").splitlines(keepends=True)
            shape = json.loads(head)["shape"]
        except (OSError, ValueError, KeyError, TypeError):
            self.damage = "damaged: its index cannot be read" if self.index.exists() else ""
            return 0
        count = 0
        try:
            if shape != list(self.shape):
                raise ValueError("other shape")
            with self.path.open("rb") as file:
                for line in lines:
                    if not line.endswith("\n"):  # a process was killed as it wrote
                        break
                    if (entry := BLOCK.fullmatch(line)) is None:
                        raise ValueError("a line of its index cannot be read")
                    rows, checksum = entry.groups()
                    if int(rows) != min(self.batch, self.shape[0] - count) or count == self.shape[0]:
                        raise ValueError("other blocks")
                    block = file.read(4 * int(rows) * self.shape[1])
                    if len(block) != 4 * int(rows) * self.shape[1] or zlib.crc32(block) != int(checksum, 16):
                        raise ValueError("a checksum does not hold")
                    count += int(rows)
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else error
            self.damage = f"damaged after {count:,} pictures ({why})"
        if count == self.shape[0]:
            with contextlib.suppress(OSError):
                os.utime(self.index)  # by which what was used longest ago is known
        return count

    def begin(self, count: int) -> None:
        """Get ready to take the rows after the first `count`, which are there.

        Raises:
            NoRoomError: if there is room for them nowhere.
        """
        try:
            if self.unwritable:
                raise OSError(self.unwritable)
            free = shutil.disk_usage(self.path.parent).free
            if self.nbytes - 4 * count * self.shape[1] > HOST_SHARE * free:
                raise OSError(f"{format_size(self.nbytes)}, and {format_size(free)} of disk are free")
            # Others may have mapped a file that was whole: it is replaced, never cut.
            lines = self.index.read_text(encoding="utf-8").splitlines(keepends=True) if count else []
            with replace_file(self.path) as beside:
                (self._mapped(count).numpy() if count else np.empty(0)).tofile(beside)
            with replace_file(self.index) as beside:
                head = json.dumps({"shape": self.shape, **self.facts}) + "\n"
                beside.write_text("".join([head, *lines[1 : 1 + -(-count // self.batch)]]), encoding="utf-8")
            self.files = [path.open("ab", buffering=0) for path in (self.path, self.index)]
        except OSError as error:
            self._leave_disk(error, count)

    def append(self, rows: Tensor) -> None:
        """A block, (n, D) float32 on the CPU.

        Raises:
            NoRoomError: if the disk has become full, and memory does not suffice.
        """
        block = rows.numpy().tobytes()
        if self.files:
            done = os.fstat(self.files[0].fileno()).st_size
            try:
                _write(self.files[0], block)
                _write(self.files[1], f"{len(rows)} {zlib.crc32(block):08x}\n".encode())
                return
            except OSError as error:
                self._leave_disk(error, done // (4 * self.shape[1]))
        self.in_memory.append(rows)

    def _leave_disk(self, error: OSError, count: int) -> None:
        self.unwritable = str(error.strerror or error)
        available = psutil.virtual_memory().available
        if self.nbytes > HOST_SHARE * available:
            rule = f"{format_size(self.nbytes)}, and {format_size(available)} of memory are free"
            raise NoRoomError(f"{self.path.parent}: {self.unwritable}; {rule}") from error
        self.in_memory = [self._mapped(count).clone()] if count else []
        for file in self.files:
            file.close()
        if self.files:  # or what the run itself has to write would find no room
            self.files = []
            self.path.unlink(missing_ok=True)
            self.index.unlink(missing_ok=True)

    def all(self) -> Tensor:
        """(N, D) float32: mapped from the file, copy-on-write; or in memory."""
        if self.in_memory:
            return torch.cat(self.in_memory)
        for file in self.files:
            os.fsync(file.fileno())
        return self._mapped(self.shape[0])

    def _mapped(self, count: int) -> Tensor:
        return torch.from_numpy(np.memmap(self.path, np.float32, "c", shape=(count, self.shape[1])))


def _write(file: BinaryIO, content: bytes) -> None:
    """All of it: where a disk becomes full, the system first takes a part."""
    left = memoryview(content)
    while left:
        left = left[file.write(left) :]


def remove_oldest(folder: Path, used: set[str]) -> int:
    """Bring the folder below LARGEST, without what this run uses or another computes: bytes that were freed."""
    entries = sorted((path.stat().st_mtime, path.stem) for path in folder.glob("*.blocks"))
    sizes = {key: size(folder / f"{key}.rows") for _, key in entries}
    total = freed = sum(sizes.values())
    for _, key in entries:
        if total <= LARGEST or key in used:
            continue
        with contextlib.suppress(Timeout, OSError), FileLock(folder / f"{key}.lock", blocking=False):
            for suffix in ("blocks", "rows", "lock"):
                (folder / f"{key}.{suffix}").unlink(missing_ok=True)
            total -= sizes[key]
    return freed - total


def size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
