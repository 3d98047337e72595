"""Scripts run in new processes: one after another in the same one, or each in a fork of one that has imported torch."""

import contextlib
import json
import os
import runpy
import subprocess
import sys
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from viewfinder.sweeps.executors.local import run_in_subprocess

PROGRAM = """
import io, json, runpy, sys

answers = []
for words in json.loads(sys.argv[1]):
    sys.argv = words
    sys.stdout, sys.stderr = streams = [io.TextIOWrapper(io.BytesIO(), "utf-8") for _ in range(2)]
    code = 0
    try:
        runpy.run_path(words[0], run_name="__main__")
    except SystemExit as end:
        code = end.code
    for stream in streams:
        stream.flush()
    answers.append([code or 0, *(stream.buffer.getvalue().decode() for stream in streams), list(sys.modules)])
print(json.dumps(answers), file=sys.__stdout__)
"""


class Ended(NamedTuple):
    """Exit code and output of a command, and the modules that it and the commands before it have imported."""

    code: int
    out: str
    err: str
    modules: set[str]


def run_scripts(lines: Sequence[Sequence[str | Path]], working_folder: Path) -> list[Ended]:
    """Run Python scripts with their arguments in a new process, each as the main program."""
    words = json.dumps([[*map(str, line)] for line in lines])
    command = [sys.executable, "-P", "-c", PROGRAM, words]
    process = subprocess.run(command, cwd=working_folder, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
    return [Ended(code, out, err, {*modules}) for code, out, err, modules in json.loads(process.stdout)]


def run_forked(
    words: Sequence[str | Path], working_folder: Path, variables: Mapping[str, str] | None = None
) -> "subprocess.CompletedProcess[str]":
    """Run a Python script with arguments in a fork of the local executor's server, which saves the imports of torch.

    Args:
        words: the script and its arguments.
        variables: environment variables, in addition to those of this process.
    """
    typed = [*map(str, words)]
    with TemporaryDirectory() as folder:
        out, err = (Path(folder) / name for name in ("out", "err"))
        environment = {**os.environ, **(variables or {})}
        (code,), _ = run_in_subprocess(run_script, [(typed, str(working_folder), environment, str(out), str(err))])
        return subprocess.CompletedProcess(typed, -1 if code is None else code, out.read_text(), err.read_text())


def run_script(task: tuple[list[str], str, dict[str, str], str, str]) -> int:
    """Run a script as the main program of this process, and return its exit code.

    Args:
        task: command line, working folder, environment, and files for standard output and standard error.
    """
    typed, folder, environment, *streams = task
    for descriptor, path in enumerate(streams, 1):
        with Path(path).open("w") as file:
            os.dup2(file.fileno(), descriptor)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv, sys.orig_argv = typed, ["python", *typed]
    sys.path.insert(0, str(Path(typed[0]).parent))
    code: Any = 0
    try:
        runpy.run_path(typed[0], run_name="__main__")
    except SystemExit as end:
        code = end.code
    except BaseException:
        traceback.print_exc()
        code = 1
    with contextlib.suppress(OSError):
        sys.stdout.flush()
    return code if isinstance(code, int) else int(code is not None)
