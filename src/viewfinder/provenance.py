"""What a run says of where it came from: command, commit, versions, machine, times."""

import contextlib
import os
import platform
import shlex
import subprocess
import sys
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


def this_process() -> dict[str, Any]:
    machine = {"host": platform.node(), "system": platform.platform(), "cores": os.cpu_count()}
    return {"machine": machine, "process": os.getpid()}


def versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found
