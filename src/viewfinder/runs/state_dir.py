"""User's state folder: records that no run folder from elsewhere can add to."""

import os
from pathlib import Path

from viewfinder.runs.atomic import replace_file


def state_file(name: str) -> Path:
    """Return the path of a record; see the XDG Base Directory Specification.

    Raises:
        RuntimeError: if the user has no home folder.
    """
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "viewfinder" / name


def write_record(path: Path, text: str) -> None:
    """Replace a record by this text, in a folder for this user alone.

    Raises:
        OSError: if it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with replace_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
