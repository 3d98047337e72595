"""The examples of CONTRIBUTING.md pass their tests and train together, in a copy of the repository."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT
from pages import PAGES, write_files

TOGETHER = """
from pathlib import Path

from conftest import QUICK, train_into

CHOICES = ("model=linear", "data=stripes", "augment=invert", "optimizer=sign_sgd")


def test_the_examples_train_together(tmp_path: Path) -> None:
    run = train_into(tmp_path / "run", *CHOICES, *QUICK)
    assert "val/mcc" in run.metrics.read_text()
    assert set(run.read_scores()["best"]["test"]) >= {"accuracy", "mcc"}
"""


def insert_after(path: Path, line: str, added: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count(line) == 1, f"{path} has changed; update its example in CONTRIBUTING.md"
    path.write_text(text.replace(line, line + added), encoding="utf-8")


@pytest.mark.slow
def test_the_examples_of_contributing_pass_their_tests_and_train_together(tmp_path: Path) -> None:
    guide = PAGES["CONTRIBUTING.md"]
    for folder in ("src", "conf"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    (tmp_path / "tests").mkdir()
    for file in ("pyproject.toml", "tests/conftest.py", "tests/shortcuts.py"):
        shutil.copy(ROOT / file, tmp_path / file)
    write_files("CONTRIBUTING.md", tmp_path)
    (tmp_path / "tests" / "test_together.py").write_text(TOGETHER, encoding="utf-8")
    metrics = tmp_path / "src" / "viewfinder" / "evaluation" / "metrics.py"
    (metric,) = re.findall(r"^# line in src/viewfinder/evaluation/metrics\.py\n(.*\n)", guide, re.MULTILINE)
    insert_after(metrics, "    multiclass_f1_score,\n", "    multiclass_matthews_corrcoef,\n")
    insert_after(metrics, '    "recall": partial(multiclass_recall, average="macro"),\n', metric)
    (command,) = re.findall(r"`(cli\.command\(\)\(classes\))`", guide)
    added = f"from viewfinder.cli.classes import classes\n\n{command}\n"
    insert_after(tmp_path / "src" / "viewfinder" / "cli" / "main.py", "cli.command()(report)\n", added)
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", "-n", "0", "-p", "no:cacheprovider"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path / "src"), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
