"""Image files: listing, opening and printable paths."""

import contextlib
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from viewfinder.errors import Problem, UserError, join_names

EXTENSIONS = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".pgm", ".tif", ".tiff", ".webp")


def find_images(paths: Sequence[Path]) -> list[Path]:
    """Return the given files and the images below the given folders, without repetition.

    Raises:
        UserError: listing the paths that do not exist, and the folders without images.
    """
    images: list[Path] = []
    problems: list[Problem] = []
    for path in paths:
        try:
            is_folder, exists = path.is_dir(), path.exists()
        except OSError as error:
            problems.append(Problem(escape_path(path), f"cannot be opened: {error.strerror}"))
            continue
        if is_folder:
            below = list_images(path)
            images += below
            if not below:
                remedy = f"Supported extensions: {join_names(EXTENSIONS)}."
                problems.append(Problem(escape_path(path), "contains no images", remedy=remedy))
        elif exists:
            images.append(path)
        else:
            problems.append(Problem(escape_path(path), describe_broken_link(path) or "does not exist"))
    if problems:
        raise UserError("the images", problems)
    return list(dict.fromkeys(images))


def list_images(folder: Path) -> list[Path]:
    """Return the image files in and below a folder, sorted by path; hidden files and folders are ignored.

    Links are followed, except to a folder that was listed before or that contains this one: a link back up would
    repeat images and mix classes.

    Raises:
        UserError: if a folder cannot be listed.
    """
    files = []
    root = folder.resolve()
    listed = {_folder_identity(path) for path in (root, *root.parents)}
    for current, subfolders, names in os.walk(folder, followlinks=True, onerror=_raise_not_listed):
        remaining = []
        # Real folders before links, so that an image keeps the shorter of its paths.
        for path in sorted((Path(current) / name for name in subfolders), key=lambda path: (path.is_symlink(), path)):
            if not path.name.startswith(".") and (identity := _folder_identity(path)) not in listed:
                listed.add(identity)
                remaining.append(path.name)
        subfolders[:] = remaining
        files += [Path(current) / name for name in names if not name.startswith(".")]
    return sorted(path for path in files if path.suffix.lower() in EXTENSIONS)


def _folder_identity(folder: Path) -> tuple[int, int]:
    status = folder.stat()
    return status.st_dev, status.st_ino


def _raise_not_listed(error: OSError) -> None:
    raise UserError("the data", [Problem(escape_path(error.filename), f"cannot be listed: {error.strerror}")])


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
