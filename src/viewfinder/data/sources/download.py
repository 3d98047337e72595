"""Downloads of published data sets: a limit on waiting, the cause of a failure, and what a failure leaves."""

import contextlib
import hashlib
import http.client
import json
import os
import socket
import tarfile
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from viewfinder.errors import Problem, UserError, join_first
from viewfinder.runs.cache_dir import cache_folder
from viewfinder.runs.lock import acquire_patiently

TIMEOUT = 60
"""Seconds without an answer after which a download fails; torchvision would wait forever."""
PATIENCE = 3600.0
"""Seconds to wait for another process that downloads the same data set."""
DOWNLOAD_ERRORS = (OSError, RuntimeError, EOFError, http.client.HTTPException)
"""Errors of a download without a network, or of one that breaks off."""
QUICKSTART = "To try Viewfinder without a download: python train.py experiment=quickstart"


@contextlib.contextmanager
def limited_waiting() -> Iterator[None]:
    """Let downloads fail after TIMEOUT seconds without an answer."""
    default = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT)
    try:
        yield
    finally:
        socket.setdefaulttimeout(default)


def describe_cause(error: BaseException) -> str:
    """Return the cause of a failed download in a line."""
    reason = getattr(error, "reason", None)
    lines = [line.strip(" <>") for line in str(reason or error).splitlines() if line.strip()]
    return lines[-1].removeprefix("urlopen error ") if lines else type(error).__name__


@contextlib.contextmanager
def new_folders_removed_on_error(root: Path) -> Iterator[None]:
    """After an error, remove the empty folders that were created for root."""
    missing = [folder for folder in (root, *root.parents) if not folder.exists()]
    try:
        yield
    except BaseException:
        for folder in missing:
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise


@contextlib.contextmanager
def safe_extraction() -> Iterator[None]:
    """Refuse members of tar archives that lie outside the folder of extraction, and links that lead there (PEP 706)."""
    default = tarfile.TarFile.extraction_filter
    tarfile.TarFile.extraction_filter = staticmethod(tarfile.data_filter)
    try:
        yield
    finally:
        tarfile.TarFile.extraction_filter = default


@contextlib.contextmanager
def downloading(name: str, root: Path) -> Iterator[None]:
    """Let one process at a time download a data set into a folder; mark the folder until all files are complete.

    After an error, new folders without a file are removed, and so is the mark unless other new files remain.

    Raises:
        UserError: if another process keeps the folder for too long.
    """
    mark = _mark(name, root)
    with _locked(name, root), new_folders_removed_on_error(root), limited_waiting(), safe_extraction():
        before = _list_entries(root)
        root.mkdir(parents=True, exist_ok=True)
        mark.write_text(json.dumps(sorted(path.relative_to(root).as_posix() for path in before)), encoding="utf-8")
        try:
            yield
        except BaseException:
            new = sorted(_list_entries(root) - before, reverse=True)  # what is inside a folder before the folder
            for path in new:
                with contextlib.suppress(OSError):
                    path.rmdir()
            if not any(path.exists() for path in new):
                mark.unlink(missing_ok=True)
            raise
        mark.unlink(missing_ok=True)


def refuse_incomplete(name: str, root: Path) -> None:
    """Raise a UserError if an earlier download of a data set has left a part of its files.

    Otherwise a folder that is half extracted would pass for the whole data set. A download that another process is
    doing is waited for.
    """
    mark = _mark(name, root)
    if not mark.exists():
        return
    with _locked(name, root):
        if not mark.exists():
            return
        try:
            before = set(json.loads(mark.read_text(encoding="utf-8")))
        except (OSError, ValueError):
            before = set()
        new = {path for path in _list_entries(root) if path.relative_to(root).as_posix() not in before}
    names = [str(path.relative_to(root)) for path in sorted(new) if path.parent not in new]
    rule = f"contains a download of {name} that was interrupted, so files may be missing or incomplete"
    remedy = f"Remove these from it, and start again: {join_first([*names, mark.name], 20)}"
    raise UserError("the data", [Problem("data.root", rule, str(root), remedy)])


def _mark(name: str, root: Path) -> Path:
    return root / f".{name}.incomplete"


def _list_entries(root: Path) -> set[Path]:
    """Return the files and folders in a folder and in its folders, without marks."""
    entries: set[Path] = set()
    for folder in (root, *(path for path in _list(root) if path.is_dir())):
        entries.update(path for path in _list(folder) if path.suffix != ".incomplete")
    return entries


def _list(folder: Path) -> list[Path]:
    with contextlib.suppress(OSError):
        return [Path(entry) for entry in os.scandir(folder)]
    return []


@contextlib.contextmanager
def _locked(name: str, root: Path) -> Iterator[None]:
    """Hold a lock in the cache folder, since data may be on a disk that cannot be written or locked."""
    digest = hashlib.blake2b(f"{root.resolve()}\0{name}".encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()
    folder = cache_folder() / "downloads"
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / f"{digest}.lock")
    try:
        acquire_patiently(lock.acquire, PATIENCE, f"another process, which downloads {name},", root)
    except Timeout as error:
        rule = f"is still locked by another process, which downloads {name}"
        raise UserError(
            "the data", [Problem("data.root", rule, str(root), "Wait until it ends, or stop it.")]
        ) from error
    try:
        yield
    finally:
        lock.release()
