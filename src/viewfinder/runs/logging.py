"""Logging of a run to the terminal and, with times, to train.log."""

import contextlib
import logging
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

from viewfinder.runs.launcher import is_helper

log = logging.getLogger("viewfinder")
ONLY_IN_FILE = {"only_in_file": True}
"""`extra` of log records that are too long for a terminal."""


def log_wrapped(text: str) -> None:
    """Log text wrapped to 80 columns, with continuation lines indented past the label."""
    for line in textwrap.wrap(text, 80, subsequent_indent=9 * " ", break_long_words=False, break_on_hyphens=False):
        log.info(line)


@contextlib.contextmanager
def logging_to(path: Path | None) -> Iterator[None]:
    """Log to standard output and to a file, which also gets the error that ends the block.

    Helper processes of a distributed run log only warnings.

    Args:
        path: the file; None for standard output only.
    """
    terminal = logging.StreamHandler(sys.stdout)
    terminal.setFormatter(logging.Formatter("%(message)s"))
    terminal.addFilter(lambda record: not hasattr(record, "only_in_file"))
    handlers: list[logging.Handler] = [terminal]
    if path is not None:
        file = LogFile(path, encoding="utf-8")
        file.setFormatter(logging.Formatter("%(asctime)s  %(message)s", "%Y-%m-%d %H:%M:%S"))
        handlers.append(file)
    level, propagate = log.level, log.propagate
    log.setLevel(logging.WARNING if is_helper() else logging.INFO)
    log.propagate = False
    for handler in handlers:
        log.addHandler(handler)
    try:
        yield
    except BaseException as error:
        last = log.makeRecord(log.name, logging.ERROR, __file__, 0, f"{type(error).__name__}: {error}", (), None)
        for handler in handlers[1:]:  # the caller shows it on the terminal
            handler.handle(last)
        raise
    finally:
        for handler in handlers:
            log.removeHandler(handler)
            with contextlib.suppress(OSError):  # a full disk, which the next file to be written reports
                handler.close()
        log.setLevel(level)
        log.propagate = propagate


class LogFile(logging.FileHandler):
    """Log file that ignores write errors."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        pass
