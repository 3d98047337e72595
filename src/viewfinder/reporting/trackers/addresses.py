"""Record of the addresses to which this user has sent runs.

A tracker's server gets the user's credentials, and a database is migrated to the tracker's version. So an address in a
run folder from elsewhere is used only if this user has trained with it or typed it.
"""

import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from viewfinder.runs.atomic import replace_file

KEY = "tracking_uri"


def remember_address(node: Mapping[str, Any]) -> None:
    """Add the address in a tracker's node to the record; without a home folder, nothing is recorded."""
    address = node.get(KEY)
    with contextlib.suppress(OSError, RuntimeError):
        if address and address not in (known := _read()):
            path = _record_file()
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with replace_file(path) as temporary:
                temporary.write_text(json.dumps(sorted([*known, address]), indent=2), encoding="utf-8")


def find_unknown_address(node: Mapping[str, Any]) -> str | None:
    """Return the address in a tracker's node if this user has neither trained with it nor typed it."""
    address = node.get(KEY)
    if not address or address == os.environ.get("MLFLOW_TRACKING_URI"):
        return None
    with contextlib.suppress(OSError, RuntimeError):
        return None if address in _read() else str(address)
    return str(address)


def _read() -> list[str]:
    """Read the record; an invalid file counts as empty."""
    path = _record_file()
    with contextlib.suppress(ValueError, RecursionError):
        if path.is_file() and isinstance(record := json.loads(path.read_text(encoding="utf-8")), list):
            return [address for address in record if isinstance(address, str)]
    return []


def _record_file() -> Path:
    """Return the path of the record; see the XDG Base Directory Specification.

    Raises:
        RuntimeError: if the user has no home folder.
    """
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "viewfinder" / "tracker_addresses.json"
