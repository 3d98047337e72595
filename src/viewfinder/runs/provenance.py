"""Provenance of a run: command, commit, versions, code hashes, machine and time."""

import contextlib
import hashlib
import importlib.util
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Iterable, Mapping
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = (
    "viewfinder", "torch", "torchvision", "torchcodec", "pytorch-lightning", "torchmetrics", "hydra-core",
    "tensorboard", "numpy", "pillow", "pillow-heif", "timm",
)  # fmt: skip


def now() -> str:
    """Return the local time with its offset, in ISO format."""
    return datetime.now().astimezone().isoformat(timespec="seconds")


def read_command() -> str:
    """Return the command that started this process, quoted for a shell."""
    argv = sys.orig_argv
    script, *arguments = argv[argv.index(sys.argv[0]) if sys.argv[0] in argv else 1 :] or sys.argv
    name = Path(script).name
    return shlex.join([*(["python"] if name.endswith(".py") else []), name, *arguments])


def read_git_state() -> dict[str, Any] | None:
    """Return the commit of this package and whether its checkout has uncommitted changes; None outside a checkout."""

    def git(*arguments: str) -> str:
        command, folder = ["git", *arguments], Path(__file__).parent
        return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout.strip()

    try:
        if not git("ls-files", Path(__file__).name):
            return None
        return {"commit": git("rev-parse", "HEAD"), "dirty": bool(git("status", "--porcelain"))}
    except (OSError, subprocess.CalledProcessError):
        return None


def hash_code(targets: Iterable[str]) -> dict[str, str]:
    """Return hashes of the code behind a run, by top-level module.

    They cover this package, the modules of the targets, and the imported modules below the working folder; not the
    packages in PACKAGES, whose versions run.json records.

    Args:
        targets: dotted paths, such as torch.optim.Adam.
    """
    folder = Path.cwd()
    local = {
        name.partition(".")[0]
        for name, module in list(sys.modules.items())
        if (file := getattr(module, "__file__", None)) and _is_local(file, folder)
    }
    tops = {target.partition(".")[0] for target in targets} | {name for name in local if not name.startswith("__")}
    tops -= {name.replace("-", "_") for name in PACKAGES}
    return {name: digest for name in ("viewfinder", *sorted(tops)) if (digest := hash_module(name))}


def _is_local(file: str, folder: Path) -> bool:
    """Return whether a module's file is below a folder, but not in site-packages."""
    if not file.startswith(str(folder)):  # a hundred times as fast as the next line, for thousands of modules
        return False
    return Path(file).is_relative_to(folder) and "site-packages" not in Path(file).parts


def hash_module(name: str) -> str:
    """Hash the source of a top-level module or package without importing it; '' if the module is not found."""
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        spec = None
    if spec is None:
        return ""
    folders = [Path(folder) for folder in spec.submodule_search_locations or []]
    files = [(file.relative_to(folder), file) for folder in folders for file in sorted(folder.rglob("*.py"))]
    digest = hashlib.blake2b(digest_size=16)
    for name_in_package, file in files or [(Path(), Path(spec.origin or ""))]:
        with contextlib.suppress(OSError):
            content = file.read_bytes()
            digest.update(f"{name_in_package}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()


def describe_process() -> dict[str, Any]:
    """Return the machine and the process id."""
    machine = {"host": platform.node(), "system": platform.platform(), "cores": os.cpu_count()}
    return {"machine": machine, "process": os.getpid()}


def describe_version_changes(earlier: Mapping[str, str], current: Mapping[str, str]) -> list[str]:
    """List the packages whose version differs from an earlier one, such as 'torch 2.14.1, now 2.15.0'."""
    return [
        f"{name} {version}, now {current.get(name)}"
        for name, version in earlier.items()
        if current.get(name) != version
    ]


def read_versions() -> dict[str, str]:
    """Return the versions of Python and of the installed packages in PACKAGES."""
    versions = {"python": platform.python_version()}
    for name in PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            versions[name] = version(name)
    return versions
