"""Atomic file replacement."""

import contextlib
import errno
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from viewfinder.errors import Problem, UserError

DISK_FULL_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Error numbers of a full disk."""
DISK = "the disk"
"""Stage of an error about the disk."""
TEMP_NAME = r"\.[^.]+\.\d+"
"""Pattern of the names of unfinished files."""


@contextlib.contextmanager
def replace_file(path: Path, is_writer: bool = True) -> Iterator[Path]:
    """Yield a temporary path beside `path`; the file written there replaces `path` once it is on the disk.

    Args:
        path: file to replace.
        is_writer: False in all but one of several processes that save together.
    """
    # Without the suffix, from which other programs, such as TensorBoard, would recognise the unfinished file.
    temporary = path.with_name(f".{path.name.partition('.')[0]}.{os.getpid()}")
    if not is_writer:
        yield temporary
        return
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
        _sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _sync_folder(path: Path) -> None:
    """Flush the names in a folder to the disk, where the system supports it."""
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def replace_text(path: Path, text: str) -> None:
    """Replace a file with text as UTF-8; surrogates stand for other bytes."""
    with replace_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="surrogateescape")


def write_json(path: Path, value: Any) -> None:
    """Replace a file with a value as JSON."""
    replace_text(path, format_json(value))


def format_json(value: Any) -> str:
    """Return a value as the JSON text of a file."""
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def read_json(path: Path) -> Any:
    """Return the value of a JSON file that this version wrote."""
    return json.loads(path.read_text(encoding="utf-8", errors="surrogateescape"))


def copy_file(source: Path, target: Path) -> None:
    """Replace `target` with a copy of `source`, not a link, so that damage to one file spares the other."""
    with replace_file(target) as temporary:
        shutil.copyfile(source, temporary)


def make_write_error(path: Path, error: OSError, command: str) -> UserError:
    """Return a UserError for a file or folder that cannot be written.

    Args:
        path: the file or folder.
        error: the system's error.
        command: how to continue once the file can be written.
    """
    remedy = f"{'Make room' if error.errno in DISK_FULL_ERRORS else 'Make it writable'}, then: {command}"
    return UserError(DISK, [Problem(str(path), f"cannot be written: {error.strerror}", remedy=remedy)])
