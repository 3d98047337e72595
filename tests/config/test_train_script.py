"""`python train.py` rejects a wrong command line before it imports torch."""

import subprocess
import sys
from pathlib import Path

import pytest
from command_lines import (
    assert_one_screen,
    list_files,
)
from conftest import ROOT


def run_train_script(working_folder: Path, *words: str) -> str:
    """Return the error of `python train.py`, which imports no torch, exits with 2 and leaves no file."""
    process = subprocess.run(
        [sys.executable, "-X", "importtime", ROOT / "train.py", *words],
        cwd=working_folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    lines = process.stderr.splitlines()
    imported = {line.rpartition("|")[2].strip() for line in lines if line.startswith("import time:")}
    error = "\n".join(line for line in lines if not line.startswith("import time:"))
    assert process.returncode == 2
    assert process.stdout == ""
    assert "hydra" in imported
    assert "torch" not in imported
    assert_one_screen(error)
    assert list_files(working_folder) == []
    return error


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("modle=mlp",), "Did you mean model?"),
        (("model=mpl",), "Did you mean mlp?"),
        (("+optimizer.lrr=1",), "Did you mean optimizer.lr?"),
        (("-m", "optimizer.lrr=1,2"), "Did you mean optimizer.lr?"),
        (("-m", "model=mlp,simple_cn"), "Did you mean simple_cnn?"),
        (("optimizer.lr=(1",), "cannot be parsed: extraneous input '('"),
        (("sweep=5",), "is a group of keys"),
        (("optimizer.lr", "=", "0.1"), "Write key=value without spaces"),
        (("-m", "seed=1,2", "run_dir=x"), "output_dir=PATH"),
        (("optimizer.betas={a: 1}",), "must be a list"),
    ],
)
def test_a_wrong_command_line_is_answered_before_torch_is_imported(
    words: tuple[str], expected: str, tmp_path: Path
) -> None:
    assert expected in run_train_script(tmp_path, *words)
