"""A run that ends before its time: one message that says why, and how to go on."""

import contextlib
import errno
import logging
import threading
from collections.abc import Iterator
from pathlib import Path

import torch

from viewfinder.errors import Problem, ViewfinderError
from viewfinder.run_folder import RunFolder
from viewfinder.signals import Stopped

log = logging.getLogger("viewfinder")
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
CLOSED = (errno.EROFS, errno.EACCES, errno.EPERM)
NO_MEMORY = ("can't allocate memory", "Cannot allocate memory", "out of memory")


@contextlib.contextmanager
def explained(run: RunFolder) -> Iterator[None]:
    """Say how to go on when this block is stopped; running out of disk or memory in it is a ViewfinderError."""
    resume = f"viewfinder resume {run.path}"
    before = threading.excepthook
    # TensorBoard writes in a thread of its own, which would print a traceback of what this thread meets soon.
    threading.excepthook = lambda args: None if getattr(args.exc_value, "errno", None) in FULL else before(args)
    try:
        yield
    except Stopped:
        log.info(f"Go on with: {resume}")
        raise
    except (MemoryError, RuntimeError, OSError) as error:
        text = " ".join(str(error).split())
        if isinstance(error, OSError) and error.errno in (*FULL, *CLOSED):
            rule = f"cannot be written: {error.strerror}"
            remedy = f"{'Make room' if error.errno in FULL else 'Make it writable'}, then: {resume}"
            inside = error.filename is None or Path(str(error.filename)).is_relative_to(run.path)
            problem = Problem(str(run.path if inside else error.filename), rule, remedy=remedy)
            raise ViewfinderError("the disk", [problem]) from error
        if isinstance(error, MemoryError | torch.OutOfMemoryError) or any(words in text for words in NO_MEMORY):
            remedy = f"End other programs, then: {resume}\nOr start anew with a smaller data.batch_size."
            problem = Problem("data.batch_size", f"memory is full: {text[:200] or 'no more is given'}", remedy=remedy)
            raise ViewfinderError("the memory", [problem]) from error
        raise
    finally:
        threading.excepthook = before
