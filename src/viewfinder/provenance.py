"""What a run says of where it came from: command, commit, versions, machine, times."""

import contextlib
import hashlib
import importlib.util
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Iterable
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = (
    "viewfinder", "torch", "torchvision", "torchcodec", "pytorch-lightning", "torchmetrics", "hydra-core",
    "tensorboard", "numpy", "pillow",
)  # fmt: skip


def now() -> str:
    return datetime.now().astimezone().isoformat(timespec="seconds")


def command() -> str:
    """What was typed to start this process, to be typed again."""
    words = sys.orig_argv
    script, *typed = words[words.index(sys.argv[0]) if sys.argv[0] in words else 1 :] or sys.argv
    name = Path(script).name
    return shlex.join([*(["python"] if name.endswith(".py") else []), name, *typed])


def git_state() -> dict[str, Any] | None:
    """Commit of the code that runs, and whether files differ from it; None outside a checkout."""

    def git(*words: str) -> str:
        here = Path(__file__).parent
        return subprocess.run(["git", *words], cwd=here, capture_output=True, text=True, check=True).stdout.strip()

    try:
        if not git("ls-files", "provenance.py"):
            return None
        return {"commit": git("rev-parse", "HEAD"), "dirty": bool(git("status", "--porcelain"))}
    except (OSError, subprocess.CalledProcessError):
        return None


def code(targets: Iterable[str]) -> dict[str, str]:
    """A hash of this package's files, and one for each other top-level module that targets are in.

    Args:
        targets: dotted paths, such as torch.optim.Adam; of packages whose version is kept nothing is hashed.
    """
    tops = {target.partition(".")[0] for target in targets}.difference(name.replace("-", "_") for name in PACKAGES)
    return {name: found for name in ("viewfinder", *sorted(tops)) if (found := _hash(name))}


def _hash(name: str) -> str:
    spec = importlib.util.find_spec(name)
    if spec is None:
        return ""
    folders = [Path(folder) for folder in spec.submodule_search_locations or []]
    files = sorted(file for folder in folders for file in folder.rglob("*.py")) or [Path(spec.origin or "")]
    digest = hashlib.blake2b(digest_size=16)
    for file in files:
        with contextlib.suppress(OSError):
            digest.update(f"{file.name}\0".encode() + file.read_bytes())
    return digest.hexdigest()


def this_process() -> dict[str, Any]:
    machine = {"host": platform.node(), "system": platform.platform(), "cores": os.cpu_count()}
    return {"machine": machine, "process": os.getpid()}


def versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found
