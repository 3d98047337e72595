"""bench/gpu.sh works on a CPU with small numbers, so that it works the first time a GPU is there."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT


@pytest.mark.slow
def test_every_part_ends_with_figures_and_a_part_that_fails_stops_no_other(tmp_path: Path) -> None:
    command = ["bash", str(ROOT / "bench" / "gpu.sh"), "--device", "cpu", "--small", "--out", str(tmp_path)]
    environment = {"PATH": "/usr/bin:/bin", "PYTHON": sys.executable, "OMP_NUM_THREADS": "1", "HOME": str(tmp_path)}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    report = json.loads((tmp_path / "gpu.json").read_text())
    status = {name: part["status"] for name, part in report["parts"].items()}
    expected = dict.fromkeys(("tests", "experiments", "record", "speed", "resume", "sweep"), "done")
    assert (status, ended.returncode) == (expected, 0), ended.stdout
    assert report["parts"]["resume"]["result"]["equal"]
    rows = [line for line in ended.stdout.splitlines() if line.startswith("| ")]
    assert {row.split(" | ")[0].removeprefix("| ") for row in rows} == {"part", *expected}
    broken = [*command, "--parts", "record", "tests", "--experiment", "no_such_experiment"]
    ended = subprocess.run(broken, env=environment, capture_output=True, text=True, check=False)
    report = json.loads((tmp_path / "gpu.json").read_text())
    assert ended.returncode == 1
    assert report["parts"]["tests"]["status"] == "done"
    assert report["parts"]["record"]["status"] == "failed with exit code 1"
    assert "no_such_experiment" in ended.stdout
