"""Lock that lets one process at a time write to a run folder."""

import os
import sys
from pathlib import Path

from filelock import FileLock, Timeout

from viewfinder.errors import Problem, UserError, join_names
from viewfinder.runs.naming import RUN_VARIABLE, share_path

PATIENCE = 10.0
"""Seconds to wait for the lock: child processes of a killed run end shortly after it."""


class RunLock:
    """Lock file of a run folder; while it is locked, helper processes inherit the folder's path.

    Args:
        folder: path of the run folder.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.file_lock = FileLock(folder / ".lock")

    def acquire(self, timeout: float = -1) -> None:
        """Acquire the lock and share the folder's path with helper processes.

        Args:
            timeout: seconds to wait; without limit if negative.

        Raises:
            Timeout: if another process holds the lock.
            OSError: if the lock file cannot be written.
        """
        self.file_lock.acquire(timeout)
        os.environ[RUN_VARIABLE] = str(share_path(self.folder).absolute())

    def wait(self, holder: str) -> None:
        """Acquire the lock, or wait for a while until another process releases it.

        Args:
            holder: the process that may hold it, for the error.

        Raises:
            UserError: if the other process keeps the lock, or the lock file cannot be written.
        """
        try:
            try:
                self.acquire(PATIENCE / 10)
            except Timeout:
                print(f"waiting up to {PATIENCE:.0f} s for {holder} to release {self.folder}", file=sys.stderr)
                self.acquire(PATIENCE)
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

    def is_free(self) -> bool:
        """Return whether no other process holds the lock; False if the lock file cannot be opened."""
        try:
            with self.file_lock.acquire(blocking=False):
                return True
        except OSError:
            return False


def refuse_links(folder: Path) -> None:
    """Raise UserError if a folder contains links: in an untrusted folder they may lead to any of the user's files.

    Args:
        folder: run folder or sweep folder.
    """
    links = [path.name for path in folder.iterdir() if path.is_symlink()]
    if links:
        rule = f"contains links, which a run folder never does: {join_names(links)}"
        raise UserError("the run folder", [Problem("RUN", rule, str(folder), "Remove them.")])
