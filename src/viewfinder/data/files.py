"""Which files are pictures, how they are opened, and what they are called."""

import contextlib
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from viewfinder.errors import Problem, UserError, join_names

EXTENSIONS = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".pgm", ".tif", ".tiff", ".webp")


def find_pictures(paths: Sequence[Path]) -> list[Path]:
    """The files among these paths, and the pictures in the folders and below, hidden ones apart, in order.

    Raises:
        UserError: naming the paths that do not exist, and the folders without pictures.
    """
    found: list[Path] = []
    problems: list[Problem] = []
    for path in paths:
        try:
            is_folder, is_there = path.is_dir(), path.exists()
        except OSError as error:
            problems.append(Problem(readable(path), f"cannot be opened: {error.strerror}"))
            continue
        if is_folder:
            inside = pictures_below(path)
            found += inside
            if not inside:
                problems.append(
                    Problem(readable(path), "holds no pictures", remedy=f"Known: {join_names(EXTENSIONS)}.")
                )
        elif is_there:
            found.append(path)
        else:
            problems.append(Problem(readable(path), broken_link(path) or "does not exist"))
    if problems:
        raise UserError("the pictures", problems)
    return list(dict.fromkeys(found))


def pictures_below(folder: Path) -> list[Path]:
    """Pictures in a folder and below by their extension, hidden ones apart, in the order of their paths.

    Links are followed, but not to a folder that was listed already, or that holds this one: a link that leads back
    up would list the same pictures again and again, and those of other classes.

    Raises:
        UserError: if a folder cannot be listed.
    """
    found = []
    here = folder.resolve()
    listed_before = {_identity(each) for each in (here, *here.parents)}
    for at, inner, names in os.walk(folder, followlinks=True, onerror=_not_listed):
        new = []
        # Real folders before links, so that a picture has the shorter of its paths.
        for path in sorted((Path(at) / name for name in inner), key=lambda path: (path.is_symlink(), path)):
            if not path.name.startswith(".") and (identity := _identity(path)) not in listed_before:
                listed_before.add(identity)
                new.append(path.name)
        inner[:] = new
        found += [Path(at) / name for name in names if not name.startswith(".")]
    return sorted(path for path in found if path.suffix.lower() in EXTENSIONS)


def _identity(folder: Path) -> tuple[int, int]:
    facts = folder.stat()
    return facts.st_dev, facts.st_ino


def _not_listed(error: OSError) -> None:
    raise UserError("the data", [Problem(readable(error.filename), f"cannot be listed: {error.strerror}")])


def broken_link(path: Path) -> str:
    """What is wrong with a link that leads nowhere; '' for any other path."""
    if path.is_symlink() and not path.exists():
        return f"is a link to {readable(path.readlink())}, which does not exist"
    return ""


@contextlib.contextmanager
def unchanging(path: Path, buffering: int = -1) -> Iterator[BinaryIO]:
    """A file, open for reading, that is to be the same when it is closed as it was when it was opened.

    Raises:
        OSError: if it cannot be opened, is none, such as a pipe; is empty; or was written to meanwhile, whatever
            else went wrong then.
    """
    with open(path, "rb", buffering, opener=_without_waiting) as file:
        before = os.fstat(file.fileno())
        if not stat.S_ISREG(before.st_mode):
            raise OSError("it is a folder, a pipe or a device")
        if not before.st_size:
            raise OSError("it is empty")
        try:
            yield file  # type: ignore[reportReturnType]
        finally:
            after = os.fstat(file.fileno())
            if (after.st_size, after.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
                raise OSError("it was written to while it was read")


def _without_waiting(path: str, flags: int) -> int:
    """Of a pipe, opening alone would wait for somebody to write to it."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def readable(path: Path | str) -> str:
    r"""A path or name as text that every file can hold: bytes that are no UTF-8 become \xNN."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
