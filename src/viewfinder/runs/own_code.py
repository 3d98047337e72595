"""Record of the code that this user has trained with, so that their own runs open without `allow`.

The record is a file of the user, outside all run folders. It holds the path and hash of each module and the classes
that runs named in it. A run folder from elsewhere cannot add to it, and a changed module no longer matches it.
"""

import contextlib
import importlib.util
import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path

from viewfinder.runs.atomic import replace_file
from viewfinder.runs.provenance import hash_module

Record = dict[str, dict[str, object]]
"""Path of a module's file -> its name, its hash and the dotted paths that runs named in it."""


def remember_own_code(targets: Iterable[str]) -> None:
    """Add the modules of a training's classes to the record, other than those of trusted packages.

    Without a home folder, or if it cannot be written, nothing is recorded.

    Args:
        targets: dotted paths of classes or functions, such as my_network.MyNetwork.
    """
    from viewfinder.config.components import TRUSTED_PACKAGES  # imports torch

    own = [target for target in targets if target.partition(".")[0] not in TRUSTED_PACKAGES]
    with contextlib.suppress(OSError, RuntimeError):
        path = _record_file()
        record = _read(path) if own else {}
        before = json.dumps(record)
        for target in own:
            name = target.partition(".")[0]
            if file := _locate(name):
                digest, entry = hash_module(name), record.get(file, {})
                known = entry.get("targets", []) if entry.get("hash") == digest else []
                assert isinstance(known, list)
                record[file] = {"module": name, "hash": digest, "targets": sorted({*known, target})}
        if json.dumps(record) != before:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with replace_file(path) as temporary:
                temporary.write_text(json.dumps(record, indent=2), encoding="utf-8")


def find_own_code(targets: Iterable[str]) -> tuple[str, ...]:
    """Return the targets that this user has trained with and whose module has not changed since.

    The folder of such a module is appended to sys.path if the module would not be found otherwise.
    """
    try:
        record = _read(_record_file())
    except (OSError, RuntimeError):
        return ()
    return tuple(target for target in targets if any(_matches(target, file, record[file]) for file in record))


def _matches(target: str, file: str, entry: dict[str, object]) -> bool:
    name = target.partition(".")[0]
    recorded = entry.get("targets")
    if entry.get("module") != name or not isinstance(recorded, list) or target not in recorded:
        return False
    if not Path(file).is_file():
        return False
    length = len(sys.path)
    if _locate(name) is None:
        folder = Path(file).parent
        sys.path.append(str(folder.parent if Path(file).name == "__init__.py" else folder))
    if _locate(name) == file and hash_module(name) == entry.get("hash"):
        return True
    del sys.path[length:]
    return False


def _locate(name: str) -> str | None:
    """Return the path of a top-level module's file without importing it; None if there is no such file."""
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return None
    if spec is None or spec.origin is None or not Path(spec.origin).is_file():
        return None
    return str(Path(spec.origin).resolve())


def _record_file() -> Path:
    """Return the path of the record; see the XDG Base Directory Specification.

    Raises:
        RuntimeError: if the user has no home folder.
    """
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "viewfinder" / "own_code.json"


def _read(path: Path) -> Record:
    """Read the record; an invalid file counts as empty."""
    with contextlib.suppress(ValueError, RecursionError):
        if path.is_file() and isinstance(record := json.loads(path.read_text(encoding="utf-8")), dict):
            return {file: entry for file, entry in record.items() if isinstance(entry, dict)}
    return {}
