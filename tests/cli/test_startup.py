"""--help and wrong command lines are answered without heavy imports."""

import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

SCRIPT = Path(sys.executable).with_name("viewfinder")
HELPS = {
    "train.py": [ROOT / "train.py"],
    "viewfinder": [SCRIPT],
    **{
        verb: [SCRIPT, verb]
        for verb in ("train", "search", "lr-range", "evaluate", "predict", "export", "compare", "report")
    },
}


@pytest.mark.parametrize("words", HELPS.values(), ids=HELPS)
def test_help_answers_without_importing_torch(words: list[str | Path], tmp_path: Path) -> None:
    command = [sys.executable, "-X", "importtime", *map(str, words), "--help"]
    process = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert process.returncode == 0
    assert len(process.stdout.splitlines()) > 3
    imported = {line.rpartition("|")[2].strip() for line in process.stderr.splitlines()}
    assert "viewfinder" in imported
    assert {"torch", "pytorch_lightning", "pandas", "matplotlib", "tensorboard"}.isdisjoint(imported)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("module", ["torch", "no_such_module"])
def test_garbage_is_collected_again_after_the_imports(module: str) -> None:
    script = f"""
import atexit, contextlib, gc
atexit.register(lambda: print(gc.get_freeze_count() > after))  # the first function registered is called last
from viewfinder.training.runtime import fast_imports
with contextlib.suppress(ImportError), fast_imports():
    print(gc.isenabled())
    import {module}
after, objects = gc.get_freeze_count(), [[] for _ in range(100_000)]
print(gc.isenabled(), after > 1000)
"""
    process = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert process.stdout.split() == ["False", "True", "True", "True"]


@pytest.mark.parametrize("within", ["import torchmetrics", "from scipy.signal import lfilter", "import scipy.signal"])
def test_scipy_signal_is_imported_on_first_use(within: str) -> None:
    script = f"""
import sys
from viewfinder.training.runtime import fast_imports
with fast_imports():
    {within}
    print("scipy.signal._filter_design" in sys.modules)
import scipy
print(scipy.signal.lfilter([1], [1], [2.0]), scipy.signal is sys.modules["scipy.signal"])
from scipy.signal import windows
print(hasattr(windows, "hamming"))
"""
    process = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert process.stdout.split() == [str(within.startswith("from")), "[2.]", "True", "True"]


def test_a_misspelt_key_is_answered_without_importing_torch_and_leaves_no_file(tmp_path: Path) -> None:
    command = [sys.executable, "-X", "importtime", str(ROOT / "train.py"), "optimizer.lrr=0.1", "modle=mlp"]
    process = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert process.returncode == 2
    error = [line for line in process.stderr.splitlines() if not line.startswith("import time:")]
    assert "    Did you mean optimizer.lr?" in error
    assert "    Did you mean model?" in error
    imported = {line.rpartition("|")[2].strip() for line in process.stderr.splitlines()}
    assert "hydra" in imported
    assert "torch" not in imported
    assert list(tmp_path.iterdir()) == []
