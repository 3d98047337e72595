"""--help and wrong command lines are answered without heavy imports."""

import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT
from new_process import Ended, run_scripts

SCRIPT = Path(sys.executable).with_name("viewfinder")
HELPS = {
    "train.py": [ROOT / "train.py"],
    "viewfinder": [SCRIPT],
    **{
        verb: [SCRIPT, verb]
        for verb in (
            "train",
            "search",
            "status",
            "cancel",
            "lr-range",
            "evaluate",
            "predict",
            "export",
            "compare",
            "report",
            "audit",
            "inspect",
            "explain",
            "robustness",
            "frontier",
            "verify",
            "sync",
        )
    },
}


@pytest.fixture(scope="module")
def helps(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Ended]:
    """The answer of each command to --help, which leaves no file."""
    folder = tmp_path_factory.mktemp("working_folder")
    answers = run_scripts([[*words, "--help"] for words in HELPS.values()], folder)
    assert list(folder.iterdir()) == []
    return dict(zip(HELPS, answers, strict=True))


@pytest.mark.parametrize("name", HELPS)
def test_help_answers_without_importing_torch(name: str, helps: dict[str, Ended]) -> None:
    assert helps[name].code == 0
    assert len(helps[name].out.splitlines()) > 3
    assert "viewfinder" in helps[name].modules
    assert {"torch", "pytorch_lightning", "pandas", "matplotlib", "tensorboard"}.isdisjoint(helps[name].modules)


def test_a_misspelt_key_is_answered_without_importing_torch_and_leaves_no_file(tmp_path: Path) -> None:
    (answer,) = run_scripts([[ROOT / "train.py", "optimizer.lrr=0.1", "modle=mlp"]], tmp_path)
    assert answer.code == 2
    assert "    Did you mean optimizer.lr?" in answer.err.splitlines()
    assert "    Did you mean model?" in answer.err.splitlines()
    assert "hydra" in answer.modules
    assert "torch" not in answer.modules
    assert list(tmp_path.iterdir()) == []


IMPORTS = """
import atexit, contextlib, gc, sys
atexit.register(lambda: print(gc.get_freeze_count() > after))  # the first function registered is called last
from viewfinder.training.runtime import fast_imports
with contextlib.suppress(ImportError), fast_imports():
    print(gc.isenabled())
    {statement}
after, objects = gc.get_freeze_count(), [[] for _ in range(100_000)]
print(gc.isenabled(), after > 1000)
print("scipy.signal._filter_design" in sys.modules)
import scipy
print(scipy.signal.lfilter([1], [1], [2.0]), scipy.signal is sys.modules["scipy.signal"])
from scipy.signal import windows
print(hasattr(windows, "hamming"))
"""


@pytest.mark.parametrize(
    "statement",
    ["import torchmetrics", "from scipy.signal import lfilter", "import scipy.signal", "import no_such_module"],
)
def test_garbage_is_collected_again_after_the_imports_and_scipy_signal_is_imported_on_first_use(statement: str) -> None:
    script = IMPORTS.format(statement=statement)
    process = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    enabled_within, enabled_after, is_frozen, is_imported, *used, is_frozen_at_exit = process.stdout.split()
    assert (enabled_within, enabled_after, is_frozen, is_frozen_at_exit) == ("False", "True", "True", "True")
    assert is_imported == str(statement.startswith("from"))
    assert used == ["[2.]", "True", "True"]
