"""Image files: opening and printable paths."""

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO


def describe_broken_link(path: Path) -> str:
    """Return the error message for a broken link; '' for any other path."""
    if path.is_symlink() and not path.exists():
        return f"is a link to {escape_path(path.readlink())}, which does not exist"
    return ""


@contextlib.contextmanager
def open_stable(path: Path, buffering: int = -1) -> Iterator[BinaryIO]:
    """Open a file for reading, and check on closing that it has not changed.

    Raises:
        OSError: if the file cannot be opened, is not a regular file, is empty, or changed while it was read; the last
            replaces any other error.
    """
    with open(path, "rb", buffering, opener=_open_without_waiting) as file:
        before = os.fstat(file.fileno())
        if not stat.S_ISREG(before.st_mode):
            raise OSError("not a regular file, but a folder, pipe or device")
        if not before.st_size:
            raise OSError("the file is empty")
        try:
            yield file  # type: ignore[reportReturnType]
        finally:
            after = os.fstat(file.fileno())
            if (after.st_size, after.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
                raise OSError("the file changed while it was read")


def _open_without_waiting(path: str, flags: int) -> int:
    """Open a path without waiting for the writer of a pipe."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def escape_path(path: Path | str) -> str:
    r"""Return a path or name as valid Unicode; bytes that are not UTF-8 become \xNN."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
