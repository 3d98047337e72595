"""Files that options such as --csv write."""

import contextlib
import os
import sys
from pathlib import Path
from typing import IO

from viewfinder.errors import Problem, UserError
from viewfinder.runs.atomic import replace_text

REMEDY = "Pass a file in an existing folder that you may write to."


def check_output_file(path: Path | None) -> Path | None:
    """Expand ~ in the path of a file to be written, and check it before any work is done.

    Raises:
        UserError: if it is a folder, or its folder is missing or cannot be written.
    """
    if path is None:
        return None
    try:
        path = path.expanduser()
        rule = _find_obstacle(path)
    except (OSError, RuntimeError) as error:  # RuntimeError: the user in ~user does not exist
        rule = getattr(error, "strerror", None) or str(error)
    if rule:
        raise UserError("the output file", [Problem(str(path), rule, remedy=REMEDY)])
    return path


def _find_obstacle(path: Path) -> str:
    """Return why a file cannot be written, or ''."""
    folder = path.parent
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        path.stat()  # raises the other errors, such as of a link to itself
    if path.is_dir():
        return "is a folder, not a file"
    if path.exists() and not path.is_file():  # a pipe or a device
        return "" if os.access(path, os.W_OK) else "cannot be written: permission denied"
    if not folder.is_dir():
        return f"cannot be written: {folder} is a file" if folder.exists() else f"the folder {folder} does not exist"
    return "" if os.access(folder, os.W_OK) else f"cannot be written: no permission for the folder {folder}"


def open_stream(path: Path) -> IO[str] | None:
    """Open a pipe, a device or the standard output for text; return None for a file, which can be replaced.

    Raises:
        UserError: if it cannot be written.
    """
    try:
        if _is_standard_output(path):
            return sys.stdout
        if path.exists() and not path.is_file():
            return path.open("w", encoding="utf-8", errors="surrogateescape")
    except OSError as error:
        raise UserError("the output file", [Problem(str(path), f"cannot be written: {error.strerror}")]) from error
    return None


def write_output(path: Path, text: str) -> None:
    """Replace a file with text; a pipe, a device or the standard output receives it.

    Raises:
        UserError: if it cannot be written.
    """
    try:
        if stream := open_stream(path):
            stream.write(text)
            stream.flush()
        else:
            replace_text(path.resolve(), text)  # the target of a link, not the link
    except BrokenPipeError:
        return  # the reader has enough
    except OSError as error:
        raise UserError("the output file", [Problem(str(path), f"cannot be written: {error.strerror}")]) from error


def _is_standard_output(path: Path) -> bool:
    """Return whether a path such as /dev/stdout names what standard output leads to."""
    try:
        return os.path.samestat(path.stat(), os.fstat(sys.stdout.fileno())) and not path.is_char_device()
    except (OSError, ValueError):  # no such file yet, or no file behind sys.stdout
        return False
