"""A run that ends before its time: one message that says why, and how to go on."""

import contextlib
import errno
import logging
import shlex
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from viewfinder.config.trust import allow_override, untrusted_packages
from viewfinder.errors import Problem, Stopped, UserError
from viewfinder.runs.atomic import DISK_FULL_ERRORS, make_write_error
from viewfinder.runs.folder import RunFolder

log = logging.getLogger("viewfinder")
CLOSED = (errno.EROFS, errno.EACCES, errno.EPERM)
NO_MEMORY = ("can't allocate memory", "Cannot allocate memory", "out of memory")


def to_resume(run: RunFolder) -> str:
    """What to type to go on with a run."""
    return shlex.join(["viewfinder", "resume", str(run.path), *allowing(run.read_settings())])


def allowing(settings: Mapping[str, Any]) -> list[str]:
    """The words that allow all that a configuration names, where it is opened again; none where nothing is needed."""
    found = untrusted_packages(settings)
    return [allow_override(found)] if found else []


@contextlib.contextmanager
def explained(run: RunFolder | None = None) -> Iterator[None]:
    """Say how to go on when this block is stopped; running out of disk or memory in it is a UserError.

    Args:
        run: None before there is one.
    """
    before = threading.excepthook
    # TensorBoard writes in a thread of its own, which would print a traceback of what this thread meets soon.
    threading.excepthook = lambda args: (
        None if getattr(args.exc_value, "errno", None) in DISK_FULL_ERRORS else before(args)
    )
    try:
        yield
    except Stopped as stopped:
        if run is not None:
            if not stopped.is_logged:
                kept = "the last checkpoint is kept" if run.last.exists() else "nothing was saved yet"
                log.info(f"{stopped}; {kept}")
            log.info(f"Go on with: {to_resume(run)}")
        raise
    except (MemoryError, RuntimeError, OSError) as error:
        text = " ".join(str(error).split())
        if run is not None and isinstance(error, OSError) and error.errno in (*DISK_FULL_ERRORS, *CLOSED):
            inside = error.filename is None or Path(str(error.filename)).is_relative_to(run.path)
            raise make_write_error(run.path if inside else Path(str(error.filename)), error, to_resume(run)) from error
        if isinstance(error, MemoryError | torch.OutOfMemoryError) or any(words in text for words in NO_MEMORY):
            rule = f"memory is full: {text[:200] or 'no more is given'}"
            remedy = "End other programs, or take a smaller data.batch_size in a new run."
            remedy += f"\nTo go on: {to_resume(run)}" if run is not None else ""
            raise UserError("the memory", [Problem("data.batch_size", rule, remedy=remedy)]) from error
        raise
    finally:
        threading.excepthook = before
