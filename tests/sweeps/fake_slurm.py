"""Commands of SLURM on PATH that print what a test has written to files, and record what they were called with."""

import os
import stat
from pathlib import Path

SCRIPT = """#!/bin/sh
folder="{folder}"
echo "$@" >> "$folder/{name}.calls"
for last in "$@"; do :; done
if [ "{name}" = sbatch ]; then cp "$last" "$folder/script.sh"; env > "$folder/environment"; fi
cat "$folder/{name}.out" 2>/dev/null
cat "$folder/{name}.err" >&2 2>/dev/null
exit $(cat "$folder/{name}.rc" 2>/dev/null || echo 0)
"""
NAMES = ("sbatch", "srun", "squeue", "sacct", "scancel", "scontrol", "sinfo")


class FakeSlurm:
    """Folder with the commands.

    Args:
        folder: an empty folder, to be put first on PATH.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        for name in NAMES:
            path = folder / name
            path.write_text(SCRIPT.format(folder=folder, name=name))
            path.chmod(path.stat().st_mode | stat.S_IXUSR)
        self.path = f"{folder}{os.pathsep}{os.environ['PATH']}"

    def answer(self, name: str, out: str = "", err: str = "", code: int = 0) -> None:
        """Set what a command prints, and its exit code."""
        for suffix, text in (("out", out), ("err", err), ("rc", str(code))):
            (self.folder / f"{name}.{suffix}").write_text(text)

    def calls(self, name: str) -> list[str]:
        """Return the arguments of each call of a command."""
        path = self.folder / f"{name}.calls"
        return path.read_text().splitlines() if path.exists() else []
