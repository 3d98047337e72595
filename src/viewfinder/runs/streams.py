"""Standard streams of a command: they outlive their reader, and spell what an ASCII terminal cannot show."""

import codecs
import errno
import io
import os
import sys
from pathlib import Path
from typing import Any, TextIO

SPELLINGS = {"±": "+/-", "\N{MULTIPLICATION SIGN}": "x", "…": "..."}
"""ASCII for characters that tables and reports print; others become escapes such as \\xfc."""
READER_GONE = (errno.EPIPE, errno.EIO)
"""Error numbers of a pipe whose reader has ended, as after `| head -n 1`, and of a closed terminal."""


def prepare_streams() -> None:
    """Make standard input, output and error usable in this process, whatever its parent did with them.

    Closed streams lead to the null device. Output is discarded once it cannot be written, so that a command ends its
    work; characters that the encoding lacks are spelled in ASCII. Streams that a caller has replaced stay as they are.
    """
    codecs.register_error("viewfinder.spell", _spell)
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, so that no file of a run can get it
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, Path(os.devnull).open("w" if number else "r", encoding="utf-8"))  # noqa: SIM115
        elif number and stream is getattr(sys, f"__{name}__"):
            setattr(sys, name, _wrap(stream))


def require_written_output() -> None:
    """Flush standard output.

    Raises:
        OSError: if a part of it could not be written, except because its reader has ended.
    """
    sys.stdout.flush()
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    if isinstance(raw, Output) and raw.error is not None:
        raise OSError(raw.error.errno, raw.error.strerror, "standard output")


class Output(io.FileIO):
    """File descriptor that discards everything after its first write error."""

    error: OSError | None = None
    """the error, unless the reader has ended"""

    def write(self, data: Any) -> int | None:  # type: ignore[override]
        try:
            return super().write(data)
        except BlockingIOError:
            raise
        except OSError as error:
            self.error = None if error.errno in READER_GONE else error
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self.fileno())  # also for the processes that this one starts
            os.close(null)
            return memoryview(data).nbytes


def _wrap(stream: TextIO) -> TextIO:
    stream.flush()
    buffer = io.BufferedWriter(Output(stream.fileno(), "w", closefd=False))
    is_flushed = bool(stream.line_buffering) or getattr(stream, "write_through", False)  # PYTHONUNBUFFERED
    return io.TextIOWrapper(buffer, stream.encoding, "viewfinder.spell", line_buffering=is_flushed)


def _spell(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    letters = error.object[error.start : error.end]
    return "".join(SPELLINGS.get(letter) or ascii(letter)[1:-1] for letter in letters), error.end
