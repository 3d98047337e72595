"""User's cache folder: its location, and removal of the least recently used entries."""

import contextlib
import os
import stat
import tempfile
from pathlib import Path

from filelock import FileLock, Timeout

from viewfinder.errors import Problem, UserError


def cache_folder() -> Path:
    """Return $XDG_CACHE_HOME/viewfinder, or ~/.cache/viewfinder; it may not exist yet, and can be deleted.

    A user without a home folder, as in some containers, gets a folder among the temporary files.

    Raises:
        UserError: if that folder is not this user's alone.
    """
    if configured := os.environ.get("XDG_CACHE_HOME"):
        return Path(configured) / "viewfinder"
    try:
        return Path.home() / ".cache" / "viewfinder"
    except RuntimeError:
        user = os.getuid()
    folder = Path(tempfile.gettempdir()) / f"viewfinder-{user}"
    with contextlib.suppress(OSError):  # it exists, or cannot be created, which those who write to it find out
        folder.mkdir(mode=0o700)
    if rule := _find_intrusion(folder, user):
        remedy = "Remove it, or set HOME or XDG_CACHE_HOME to a folder of your own."
        raise UserError("the cache folder", [Problem(str(folder), rule, remedy=remedy)])
    return folder


def _find_intrusion(folder: Path, user: int) -> str:
    """Return why other users may have put files into a folder that anybody could have created; '' if they cannot."""
    try:
        status = folder.lstat()
    except FileNotFoundError:
        return ""
    if not stat.S_ISDIR(status.st_mode):
        return "is a link or a file, and must be a folder"
    if status.st_uid != user:
        return "belongs to another user"
    return "may be written by other users" if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH) else ""


def evict_least_recent(folder: Path, max_bytes: int, used: set[str], content: str, index: str) -> int:
    """Remove the least recently used entries of a folder until the others fit; return the bytes freed.

    An entry is a file <key>.<content>, and a small file <key>.<index>, which is modified whenever the entry is used.

    Args:
        max_bytes: bytes of all content files that may stay.
        used: keys that this run uses; they stay, as do entries that another process has locked.
    """
    entries = sorted(measure_entries(folder, content, index), key=lambda entry: entry[1:])
    total = initial = sum(size for size, _, _ in entries)
    for size, _, key in entries:
        if total <= max_bytes or key in used:
            continue
        with contextlib.suppress(Timeout, OSError), FileLock(folder / f"{key}.lock", blocking=False):
            for suffix in (index, content, "lock"):
                (folder / f"{key}.{suffix}").unlink(missing_ok=True)
            total -= size
    return initial - total


def measure_entries(folder: Path, content: str, index: str) -> list[tuple[int, int, str]]:
    """Return the bytes, the time of the last use in ns, and the key of each entry; the time is 0 without an index."""
    paths = list(folder.glob(f"[!.]*.{content}"))
    return [(read_file_state(p)[0], read_file_state(p.with_suffix(f".{index}"))[1], p.stem) for p in paths]


def read_file_state(path: Path) -> tuple[int, int, int]:
    """Return a file's size, and its times of modification and of change in ns; zeros if it is missing."""
    try:
        status = path.stat()
    except OSError:
        return 0, 0, 0
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns
