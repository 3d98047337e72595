"""Script that runs commands one after another in one process, which imports torch once.

It reads a JSON list of command lines, and writes a JSON list of what each printed to the file that is its argument.
"""

import contextlib
import io
import json
import os
import shlex
import sys
import warnings
from pathlib import Path


def run_command(line: str) -> str:
    """Run a line that starts with viewfinder, python train.py or python -c, and return what it prints.

    Raises:
        RuntimeError: if it fails.
    """
    words = shlex.split(line)
    sys.orig_argv = words  # which runs and pages keep as their command
    printed, errors = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
    code: object = 0
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(errors):
        try:
            if words[:2] == ["python", "-c"]:
                exec(words[2], {})
            elif words[:2] == ["python", "train.py"]:
                _train(words)
            else:
                _run_viewfinder(words)
        except SystemExit as end:
            code = end.code
    output = printed.buffer.getvalue().decode()  # type: ignore[attr-defined]
    if code:
        raise RuntimeError(f"{line}\n{output}{errors.buffer.getvalue().decode()}")  # type: ignore[attr-defined]
    return output


def _train(words: list[str]) -> None:
    from viewfinder.cli.train import main

    sys.argv = words[1:]
    main()


def _run_viewfinder(words: list[str]) -> None:
    from viewfinder.cli.main import app

    assert words[0] == "viewfinder", words
    sys.argv = words
    app()


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    if hasattr(os, "sched_setaffinity"):  # threads of small networks mostly wait for each other
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])
    target = Path(sys.argv[1])
    target.write_text(json.dumps([run_command(line) for line in json.load(sys.stdin)]), encoding="utf-8")
