"""What a run says: on the terminal as it is, in train.log with the time."""

import contextlib
import logging
import os
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

log = logging.getLogger("viewfinder")


ONLY_IN_FILE = {"only_in_file": True}
"""`extra` of what is too long for a terminal."""


def say_wrapped(text: str) -> None:
    """Log what may be longer than a terminal is wide; its first word stands alone in the column before the rest."""
    for line in textwrap.wrap(text, 80, subsequent_indent=9 * " ", break_long_words=False, break_on_hyphens=False):
        log.info(line)


@contextlib.contextmanager
def logging_to(path: Path | None) -> Iterator[None]:
    """Send what the package logs to standard output, and to a file if one is given.

    The file also says what ended the run before its time. Helper processes of a distributed run say nothing.
    """
    terminal = logging.StreamHandler(sys.stdout)
    terminal.setFormatter(logging.Formatter("%(message)s"))
    terminal.addFilter(lambda record: not hasattr(record, "only_in_file"))
    handlers: list[logging.Handler] = [terminal]
    if path is not None:
        file = LogFile(path, encoding="utf-8")
        file.setFormatter(logging.Formatter("%(asctime)s  %(message)s", "%Y-%m-%d %H:%M:%S"))
        handlers.append(file)
    log.setLevel(logging.WARNING if is_helper() else logging.INFO)
    log.propagate = False
    for handler in handlers:
        log.addHandler(handler)
    try:
        yield
    except BaseException as error:
        last = log.makeRecord(log.name, logging.ERROR, __file__, 0, f"{type(error).__name__}: {error}", (), None)
        for handler in handlers[1:]:  # the terminal has it from the caller
            handler.handle(last)
        raise
    finally:
        for handler in handlers:
            log.removeHandler(handler)
            with contextlib.suppress(OSError):  # of a full disk; whatever else is to be written says so
                handler.close()


class LogFile(logging.FileHandler):
    """A log file that keeps quiet when it cannot be written."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        pass


def is_helper() -> bool:
    """Whether this is a process of a distributed run other than the first."""
    return any(os.environ.get(name, "0") != "0" for name in ("LOCAL_RANK", "RANK", "SLURM_PROCID"))
