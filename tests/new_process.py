"""Command lines run one after another in a new Python process, whose start takes longer than most of them."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

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
