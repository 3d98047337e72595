"""Record of the user's own code in runs, so that runs that they trained open without `allow`.

The record is a file of the user, outside all run folders. It holds the path and hash of each module, and a hash of each
node of a configuration that named a class in it, with all its arguments. A run folder from elsewhere cannot add to it;
a changed module, another class or other arguments do not match it. Installed packages are not recorded.
"""

import contextlib
import hashlib
import importlib.util
import json
import sys
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from viewfinder.config.instantiate import iterate_nodes
from viewfinder.runs.provenance import hash_module
from viewfinder.runs.state_dir import state_file, write_record

RECORD = "own_code.json"
Record = dict[str, dict[str, Any]]
"""Path of a module's file or folder -> its name, its hash and the hashes of nodes that runs had."""


def remember_own_code(settings: Mapping[str, Any], code: Mapping[str, str]) -> None:
    """Record the user's own modules that the configuration of a training run names.

    Nothing is recorded without a home folder, or if the record cannot be written.

    Args:
        settings: resolved configuration as plain values.
        code: hashes of the modules, from `hash_code`.
    """
    from viewfinder.config.trust import is_own_file  # imports torch

    with contextlib.suppress(OSError, RuntimeError):
        path, nodes = state_file(RECORD), _hash_nodes(settings)
        record = _read(path) if nodes else {}
        before = json.dumps(record)
        for target, digests in nodes.items():
            name = target.partition(".")[0]
            if is_own_file(name) and (digest := code.get(name)) and (file := _locate(name)):
                entry = record.get(file, {})
                known = entry.get("nodes", []) if entry.get("hash") == digest else []
                record[file] = {"module": name, "hash": digest, "nodes": sorted({*known, *digests})}
        if json.dumps(record) != before:
            write_record(path, json.dumps(record, indent=2))


def find_own_code(settings: Mapping[str, Any]) -> tuple[tuple[str, ...], dict[str, str]]:
    """Find the targets of a run's configuration that this user has trained with, with the same arguments.

    The folder of an unchanged module is appended to sys.path if the module would not be found otherwise.

    Args:
        settings: configuration of the run as plain values, without overrides.

    Returns:
        The targets whose module is unchanged, and the file or folder of each whose module has changed since.
    """
    try:
        record = _read(state_file(RECORD))
    except (OSError, RuntimeError):
        return (), {}
    unchanged, changed = [], {}
    for target, digests in (_hash_nodes(settings) if record else {}).items():
        name = target.partition(".")[0]
        for file, entry in record.items():
            if _has_trained(name, digests, file, entry) and (digest := _hash_if_found(name, file, entry)):
                if digest == entry.get("hash"):
                    unchanged.append(target)
                else:
                    changed[target] = file
    return tuple(unchanged), changed


def _hash_nodes(settings: Mapping[str, Any]) -> dict[str, set[str]]:
    """Return the hashes of all nodes of each target outside the trusted packages."""
    from viewfinder.config.components import TRUSTED_PACKAGES  # imports torch

    hashes: dict[str, set[str]] = defaultdict(set)
    for _, node in iterate_nodes("", settings):
        target = str(node["_target_"])
        if target.partition(".")[0] not in TRUSTED_PACKAGES:
            text = json.dumps(node, sort_keys=True, default=str)
            hashes[target].add(hashlib.blake2b(text.encode(), digest_size=16).hexdigest())
    return hashes


def _has_trained(name: str, digests: set[str], file: str, entry: Mapping[str, Any]) -> bool:
    """Return whether an entry of the record is of an existing module of this name, and has all of these nodes."""
    known = entry.get("nodes")
    if entry.get("module") != name or not isinstance(known, list) or not digests.issubset(known):
        return False
    return Path(file).exists()


def _hash_if_found(name: str, file: str, entry: Mapping[str, Any]) -> str:
    """Return the hash of a module; '' if Python finds another one of the same name.

    The folder of a module that Python would not find is appended to sys.path if the hash is that of the entry.
    """
    length = len(sys.path)
    if _locate(name) is None:
        folder = Path(file).parent
        sys.path.append(str(folder.parent if Path(file).name == "__init__.py" else folder))
    digest = hash_module(name) if _locate(name) == file else ""
    if digest != entry.get("hash"):
        del sys.path[length:]
    return digest


def _locate(name: str) -> str | None:
    """Return the path of a top-level module's file, or of a folder without __init__.py, without importing it."""
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    places = [spec.origin] if spec.origin else list(spec.submodule_search_locations or [])
    if len(places) != 1 or not Path(places[0]).exists():
        return None
    return str(Path(places[0]).resolve())


def _read(path: Path) -> Record:
    """Read the record; an invalid file counts as empty."""
    with contextlib.suppress(ValueError, RecursionError):
        if path.is_file() and isinstance(record := json.loads(path.read_text(encoding="utf-8")), dict):
            return {file: entry for file, entry in record.items() if isinstance(entry, dict)}
    return {}
