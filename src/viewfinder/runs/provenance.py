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
    """Hashes of the code that a run is made by: top-level module -> `module_hash`.

    Of this package, of the modules that targets are in, and of all others in the working folder that have been
    imported; of packages whose version is kept there is none.

    Args:
        targets: dotted paths, such as torch.optim.Adam.
    """
    here = Path.cwd()
    own = {
        name.partition(".")[0]
        for name, module in list(sys.modules.items())
        if (file := getattr(module, "__file__", None)) and _is_own(file, here)
    }
    tops = {target.partition(".")[0] for target in targets} | {name for name in own if not name.startswith("__")}
    tops -= {name.replace("-", "_") for name in PACKAGES}
    return {name: found for name in ("viewfinder", *sorted(tops)) if (found := module_hash(name))}


def _is_own(file: str, folder: Path) -> bool:
    """Whether a module's file lies in a folder, and not in an environment's packages there."""
    if not file.startswith(str(folder)):  # seen a hundred times as fast, of some thousand modules
        return False
    return Path(file).is_relative_to(folder) and "site-packages" not in Path(file).parts


def module_hash(name: str) -> str:
    """Of a top-level module's file, or of all of a package's; '' where there is none. Nothing is imported."""
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        spec = None
    if spec is None:
        return ""
    folders = [Path(folder) for folder in spec.submodule_search_locations or []]
    files = [(file.relative_to(folder), file) for folder in folders for file in sorted(folder.rglob("*.py"))]
    digest = hashlib.blake2b(digest_size=16)
    for place, file in files or [(Path(), Path(spec.origin or ""))]:
        with contextlib.suppress(OSError):
            content = file.read_bytes()
            digest.update(f"{place}\0{len(content)}\0".encode() + content)
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
