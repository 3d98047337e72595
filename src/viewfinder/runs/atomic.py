"""Files that are replaced whole: a reader finds the old one or the new one, never half of either."""

import contextlib
import errno
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from viewfinder.errors import Problem, UserError

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""What the system says where a disk takes no more."""
DISK = "the disk"
"""Stage of an error about it."""
BESIDE = r"\.[^.]+\.\d+"
"""Names of files that are not complete yet."""


@contextlib.contextmanager
def replacing(path: Path, is_writer: bool = True) -> Iterator[Path]:
    """A file beside `path` to write to; it takes the place of `path` when it is complete and on the disk.

    Where several processes take part in the writing, only one of them is the writer.
    """
    # Without the end of its name, by which others, such as TensorBoard, would take it for what it will be.
    beside = path.with_name(f".{path.name.partition('.')[0]}.{os.getpid()}")
    if not is_writer:
        yield beside
        return
    try:
        yield beside
        with beside.open("rb+") as file:
            os.fsync(file.fileno())
        beside.replace(path)
        _sync_folder(path.parent)
    finally:
        beside.unlink(missing_ok=True)


def _sync_folder(path: Path) -> None:
    """Have a folder's names on the disk, where the system can."""
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def replace_text(path: Path, text: str) -> None:
    with replacing(path) as beside:
        beside.write_text(text, encoding="utf-8", errors="surrogateescape")


def write_json(path: Path, value: Any) -> None:
    replace_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def copy(source: Path, target: Path) -> None:
    """Not a link: of one file on the disk, damage to either would be damage to both."""
    with replacing(target) as beside:
        shutil.copyfile(source, beside)


def unwritable(path: Path, error: OSError, then: str) -> UserError:
    """The error about a file or folder that a disk does not take; `then` is what to do when it does again."""
    remedy = f"{'Make room' if error.errno in FULL else 'Make it writable'}, then: {then}"
    return UserError(DISK, [Problem(str(path), f"cannot be written: {error.strerror}", remedy=remedy)])
