"""Failures of a run: one message with the reason, and how to resume the run."""

import contextlib
import errno
import logging
import shlex
import signal
import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from viewfinder.config.trust import allow_override, untrusted_packages
from viewfinder.data.batches import stop_workers
from viewfinder.errors import Problem, Stopped, UserError
from viewfinder.runs.atomic import DISK_FULL_ERRORS, make_write_error
from viewfinder.runs.folder import RunFolder
from viewfinder.runs.peers import describe_loss

log = logging.getLogger("viewfinder")
READ_ONLY_ERRORS = (errno.EROFS, errno.EACCES, errno.EPERM)
OUT_OF_MEMORY = ("can't allocate memory", "Cannot allocate memory", "out of memory")
"""Texts of torch's errors."""
NO_THREAD = "can't start new thread"
"""Text of Python's error."""
WORKER_DIED = "DataLoader worker"
"""Begin of torch's error."""


def format_resume_command(run: RunFolder) -> str:
    """Return the command that resumes a run."""
    return shlex.join(["viewfinder", "resume", str(run.path), *format_allow_override(run.read_settings())])


def format_allow_override(settings: Mapping[str, Any]) -> list[str]:
    """Return the override that allows the untrusted packages of a configuration; [] if all are trusted."""
    packages = untrusted_packages(settings)
    return [allow_override(packages)] if packages else []


@contextlib.contextmanager
def translate_failures(run: RunFolder | None = None) -> Iterator[None]:
    """Log how to resume a run that is stopped, and raise UserError if disk or memory is full.

    Args:
        run: the run; None before it is created.
    """
    original_hook: Any = threading.excepthook
    child_handler: Any = None

    def ignore_full_disk(args: threading.ExceptHookArgs) -> None:
        # TensorBoard's writer thread fails on a full disk as well, and would print a traceback.
        if getattr(args.exc_value, "errno", None) not in DISK_FULL_ERRORS:
            original_hook(args)

    threading.excepthook = ignore_full_disk
    try:
        yield
    except Stopped as stopped:
        if run is not None:
            if not stopped.is_logged:
                log.info(
                    f"{stopped}; {'the last checkpoint is complete' if run.last.exists() else 'nothing is saved yet'}"
                )
            log.info(f"Resume with: {format_resume_command(run)}")
            stopped.is_logged = True
        raise
    except (MemoryError, RuntimeError, OSError) as error:
        if loss := describe_loss(error):
            remedy = f"Resume with: {format_resume_command(run)}" if run is not None else "Start the run again."
            raise UserError("the processes", [Problem("the run", f"ends, because {loss}", remedy=remedy)]) from error
        if threading.current_thread() is threading.main_thread() and hasattr(signal, "SIGCHLD"):
            # torch's handler would raise again here for another decoding process that has ended.
            child_handler = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        if str(error).startswith(WORKER_DIED):
            stop_workers()
        if run is not None and isinstance(error, OSError) and error.errno in (*DISK_FULL_ERRORS, *READ_ONLY_ERRORS):
            is_inside = error.filename is None or Path(str(error.filename)).is_relative_to(run.path)
            path = run.path if is_inside else Path(str(error.filename))
            raise make_write_error(path, error, format_resume_command(run)) from error
        if (problem := _find_exhausted_resource(error)) is not None:
            resume = f"\nTo resume: {format_resume_command(run)}" if run is not None else ""
            raise UserError("the machine", [replace(problem, remedy=problem.remedy + resume)]) from error
        raise
    finally:
        threading.excepthook = original_hook
        if child_handler is not None:
            signal.signal(signal.SIGCHLD, child_handler)


def _find_exhausted_resource(error: BaseException) -> Problem | None:
    """Return the problem if an error means that memory, processes or open files are used up."""
    text = " ".join(str(error).split())
    if isinstance(error, MemoryError | torch.OutOfMemoryError) or any(part in text for part in OUT_OF_MEMORY):
        rule = f"memory is full: {text[:200] or 'the system cannot allocate more'}"
        remedy = "Close other programs, or start a new run with a smaller data.batch_size."
        return Problem("data.batch_size", rule, remedy=remedy)
    if text.startswith(WORKER_DIED):
        rule = f"a process that decodes images has ended: {text[:200]}"
        remedy = "If memory is full, use fewer data.workers or a smaller data.batch_size."
        return Problem("data.workers", rule, remedy=remedy)
    if any(isinstance(cause, BlockingIOError) or NO_THREAD in str(cause) for cause in _list_causes(error)):
        rule = "the system starts no more processes or threads for this user or container"
        remedy = (
            "Use fewer data.workers and trainer.threads, or raise the limit (ulimit -u, or pids.max of a container)."
        )
        return Problem("data.workers", rule, remedy=remedy)
    if any(isinstance(cause, OSError) and cause.errno == errno.EMFILE for cause in _list_causes(error)):
        remedy = "Use fewer data.workers, or raise the limit (ulimit -n)."
        return Problem("data.workers", "this process may open no more files", remedy=remedy)
    return None


def _list_causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and those before it; another error may have followed while the first was handled."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
