"""Record of the addresses to which this user has sent runs.

A tracker's server gets the user's credentials, and a database is migrated to the tracker's version. So an address in a
run folder from elsewhere is used only if this user has trained with it or typed it.
"""

import contextlib
import json
import os
from collections.abc import Mapping
from typing import Any

from viewfinder.runs.state_dir import state_file, write_record

KEY = "tracking_uri"
RECORD = "tracker_addresses.json"


def remember_address(node: Mapping[str, Any]) -> None:
    """Add the address in a tracker's node to the record; without a home folder, nothing is recorded."""
    address = node.get(KEY)
    with contextlib.suppress(OSError, RuntimeError):
        if address and address not in (known := _read()):
            write_record(state_file(RECORD), json.dumps(sorted([*known, address]), indent=2))


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
    path = state_file(RECORD)
    with contextlib.suppress(ValueError, RecursionError):
        if path.is_file() and isinstance(record := json.loads(path.read_text(encoding="utf-8")), list):
            return [address for address in record if isinstance(address, str)]
    return []
