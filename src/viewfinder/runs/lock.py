"""Lock that lets one process at a time write to a run folder."""

import errno
import os
import platform
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import psutil
from filelock import FileLock, Timeout

from viewfinder.errors import Problem, UserError, join_names
from viewfinder.runs.naming import RUN_VARIABLE

if sys.platform != "win32":
    import fcntl

LOCK_FILE = ".lock"
READ_FLAGS = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
"""Flags that follow no link and do not wait for the writer of a pipe."""
PATIENCE = 10.0
"""Seconds to wait for the lock: child processes of a killed run end shortly after it."""
QUIET_SECONDS = 10.0
"""Seconds to wait for a lock before saying so."""


class RunLock:
    """Lock file of a run folder; while it is locked, helper processes inherit the folder's path.

    Args:
        folder: path of the run folder.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.file_lock = FileLock(folder / LOCK_FILE)

    def acquire(self, timeout: float = -1) -> None:
        """Acquire the lock and share the folder's path with helper processes.

        Args:
            timeout: seconds to wait; without limit if negative.

        Raises:
            Timeout: if another process holds the lock.
            OSError: if the lock file cannot be written.
        """
        self.file_lock.acquire(timeout)
        os.environ[RUN_VARIABLE] = str(self.folder.absolute())

    def wait(self, holder: str) -> None:
        """Acquire the lock, or wait for a while until another process releases it.

        Args:
            holder: the process that may hold it, for the error.

        Raises:
            UserError: if the other process keeps the lock, or the lock file cannot be written.
        """
        try:
            acquire_patiently(self.acquire, PATIENCE, holder, self.folder)
        except Timeout as error:
            problem = Problem(
                "RUN", f"is locked by {holder}", str(self.folder), "Wait until it ends, or stop it with SIGTERM."
            )
            raise UserError("the run folder", [problem]) from error
        except OSError as error:
            problem = Problem("RUN", f"cannot be written: {error.strerror}", str(self.folder))
            raise UserError("the run folder", [problem]) from error

    def release(self) -> None:
        """Release the lock if it is held; processes started later no longer inherit the folder's path."""
        if self.file_lock.is_locked:
            self.file_lock.release()
            os.environ.pop(RUN_VARIABLE, None)


def acquire_patiently(acquire: Callable[[float], Any], patience: float, holder: str, path: Path) -> None:
    """Acquire a lock, or say what this process waits for, and give up in the end.

    Args:
        acquire: function that acquires the lock within a number of seconds.
        patience: seconds to wait.
        holder: the process that may hold the lock.
        path: the locked file or folder.

    Raises:
        Timeout: if another process keeps the lock.
    """
    try:
        acquire(min(QUIET_SECONDS, patience / 10))
    except Timeout:
        print(f"waiting up to {patience:.0f} s for {holder} to release {path}", file=sys.stderr)
        acquire(patience)


def is_free(folder: Path, process: int, host: str) -> bool:
    """Return whether no process holds the lock of a run folder, without writing to the folder.

    Any number of readers may ask at the same time. A missing lock file is free. Where the file cannot be opened or
    locked, the process is looked up if it ran on this machine, and otherwise counts as running.

    Args:
        folder: the run folder, which may be untrusted.
        process: id of the process that last wrote to the folder.
        host: its machine.

    Raises:
        UserError: if the lock file is a link or another special file.
    """
    if sys.platform == "win32":  # which has no shared locks
        try:
            with FileLock(folder / LOCK_FILE).acquire(blocking=False):
                return True
        except OSError:
            return False
    try:
        descriptor = os.open(folder / LOCK_FILE, READ_FLAGS)
    except FileNotFoundError:
        return True
    except OSError as error:
        if error.errno == errno.ELOOP:
            _refuse_special_lock(folder)
        return _is_gone(process, host)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            _refuse_special_lock(folder)
        return _try_shared_lock(descriptor)
    except OSError:  # a file system without locks
        return _is_gone(process, host)
    finally:
        os.close(descriptor)


def is_held_by(folder: Path, process: int) -> bool:
    """Return whether a process on this machine has a folder's lock file open, as the holder of the lock has."""
    lock = folder / LOCK_FILE
    try:
        return any(lock.samefile(file.path) for file in psutil.Process(process).open_files())
    except (psutil.Error, OSError):
        return False


def _try_shared_lock(descriptor: int) -> bool:
    """Return whether no process holds a file's exclusive lock, by holding a shared lock for a moment."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_gone(process: int, host: str) -> bool:
    return host == platform.node() and not psutil.pid_exists(process)


def _refuse_special_lock(folder: Path) -> NoReturn:
    rule = f"contains {LOCK_FILE}, which is not a regular file; a run folder never contains such a file"
    raise UserError("the run folder", [Problem("RUN", rule, str(folder), "Remove it.")])


def refuse_links(folder: Path) -> None:
    """Raise UserError if a folder contains links: in an untrusted folder they may lead to any of the user's files.

    Args:
        folder: run folder or sweep folder.
    """
    links = [path.name for path in folder.iterdir() if path.is_symlink()]
    if links:
        rule = f"contains links, which a run folder never does: {join_names(links)}"
        raise UserError("the run folder", [Problem("RUN", rule, str(folder), "Remove them.")])
