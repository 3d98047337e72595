"""Exit codes and messages of commands."""

import contextlib
import sys
from collections.abc import Iterator

from viewfinder.errors import FAILED, Problem, UserError, format_exception
from viewfinder.runs.streams import require_written_output


@contextlib.contextmanager
def exit_with_message() -> Iterator[None]:
    """Show an error that the user can fix without a traceback, and exit with FAILED.

    Errors of the system count among them, such as a file without permission or output that cannot be written.
    """
    try:
        try:
            yield
        except SystemExit as end:
            if not end.code:
                require_written_output()
            raise
        require_written_output()
    except UserError as error:
        raise SystemExit(_show(error)) from None
    except OSError as error:
        problem = Problem(str(error.filename or "the system"), error.strerror or format_exception(error))
        headline = "The system reports an error"
        raise SystemExit(_show(UserError("the system", [problem], headline=headline))) from None


def _show(error: UserError) -> int:
    print(error, file=sys.stderr)
    return FAILED
