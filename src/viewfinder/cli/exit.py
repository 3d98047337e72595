"""Exit codes and messages of commands."""

import contextlib
import math
import signal
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType

from viewfinder.errors import FAILED, Problem, Stopped, UserError, format_exception
from viewfinder.runs.launcher import is_helper
from viewfinder.runs.streams import require_written_output

REPEAT_SECONDS = 1.0
"""Time within which a second Ctrl-C counts as the first: a terminal and a launcher may each send it."""

HELPER_SECONDS = 3.0
"""Time that a launcher needs to end a helper process after the first one has failed."""


@contextlib.contextmanager
def exit_with_message() -> Iterator[None]:
    """Show an error that the user can fix without a traceback, and exit with FAILED; exit with 130 after Ctrl-C.

    Errors of the system count among them, such as a file without permission or output that cannot be written.
    """
    try:
        with _stopped_by_interrupt():
            try:
                yield
            except SystemExit as end:
                if not end.code:
                    require_written_output()
                raise
            require_written_output()
    except Stopped as stopped:
        if not stopped.is_logged and not is_helper():
            stopped.is_logged = True
            print("Stopped", file=sys.stderr)
        raise
    except UserError as error:
        raise SystemExit(_show(error)) from None
    except OSError as error:
        problem = Problem(str(error.filename or "the system"), error.strerror or format_exception(error))
        headline = "The system reports an error"
        raise SystemExit(_show(UserError("the system", [problem], headline=headline))) from None


@contextlib.contextmanager
def _stopped_by_interrupt() -> Iterator[None]:
    """Raise Stopped at Ctrl-C within this block, unless a caller handles or ignores it."""
    is_default = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if not is_default or threading.current_thread() is not threading.main_thread():
        yield
        return
    last = -math.inf

    def stop(number: int, _: FrameType | None) -> None:
        nonlocal last
        is_repeated = time.monotonic() - last < REPEAT_SECONDS
        last = time.monotonic()
        if not is_repeated:
            raise Stopped(number)

    signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        # After Ctrl-C the process ends, and another one shall not interrupt that.
        signal.signal(signal.SIGINT, signal.default_int_handler if last == -math.inf else signal.SIG_IGN)


def _show(error: UserError) -> int:
    if is_helper():  # the first process, which may have started later, shows the same error
        time.sleep(HELPER_SECONDS)
    print(error, file=sys.stderr)
    return FAILED
