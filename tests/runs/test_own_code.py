"""A run of the user's own code opens without `allow`; a stranger's run, or other code, does not."""

import json
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import QUICK, Type, train_into
from omegaconf import OmegaConf

import viewfinder as vf
from viewfinder.runs.own_code import find_own_code, remember_own_code

NETWORK = """
from torch import nn
from viewfinder.data.preprocess import Preprocess

class Tiny(nn.Sequential):
    def __init__(self, channels: int, classes: int, size: int = 8):
        super().__init__(nn.Flatten(), nn.Linear(channels * size * size, classes))
        self.preprocess = Preprocess(8)

class Other(Tiny):
    pass
"""
TARGET = "trained_network.Tiny"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the user's module, a run that it trained, and the user's record."""
    home = tmp_path_factory.mktemp("home")
    (home / "trained_network.py").write_text(NETWORK)
    (home / "conf" / "model").mkdir(parents=True)
    (home / "conf" / "model" / "tiny.yaml").write_text(f"_target_: {TARGET}\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(home / "state"))
        patch.chdir(home)
        patch.syspath_prepend(home)
        patch.delitem(sys.modules, "trained_network", raising=False)
        train_into(home / "run", "model=tiny", "data=digits", *QUICK, "trainer.limit_batches=1")
        patch.delitem(sys.modules, "trained_network")
    return home


@pytest.fixture
def user(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of the home folder, with the record of that place; the working folder is elsewhere."""
    folder = shutil.copytree(home, tmp_path / "home")
    record = folder / "state" / "viewfinder" / "own_code.json"
    record.write_text(record.read_text().replace(str(home), str(folder)))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.setenv("XDG_STATE_HOME", str(folder / "state"))
    monkeypatch.delitem(sys.modules, "trained_network", raising=False)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield folder
    sys.modules.pop("trained_network", None)


def test_a_run_of_ones_own_code_opens_from_any_folder_without_allow(user: Path, viewfinder: Type) -> None:
    answer = viewfinder("evaluate", user / "run")
    assert (answer.code, answer.err) == (0, "")
    assert "Equal to scores.json." in answer.out
    assert viewfinder("predict", user / "run", user / "run" / "curves.png").code == 0
    assert viewfinder("resume", user / "run", "trainer.max_epochs=3").code == 0
    assert OmegaConf.load(user / "run" / "config.yaml").trainer.max_epochs == 3


def test_the_record_holds_path_hash_and_class_and_no_code(user: Path) -> None:
    text = (user / "state" / "viewfinder" / "own_code.json").read_text()
    (entry,) = json.loads(text).values()
    assert (entry["module"], len(entry["nodes"])) == ("trained_network", 1)
    assert "Sequential" not in text


def write_code(user: Path, canary: Path, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"open({str(canary)!r}, 'w').close()\n{NETWORK}")


def change_config(user: Path, key: str, value: object) -> None:
    cfg = OmegaConf.load(user / "run" / "config.yaml")
    OmegaConf.update(cfg, key, value)
    OmegaConf.save(cfg, user / "run" / "config.yaml")


def name_it_twice(user: Path, canary: Path) -> None:
    change_config(user, "loss", {"_target_": TARGET, "channels": 5, "classes": 5})


def move_to_working_folder(user: Path, canary: Path) -> None:
    (user / "trained_network.py").unlink()
    write_code(user, canary, Path("trained_network.py"))


def hide_behind_a_package(user: Path, canary: Path) -> None:
    write_code(user, canary, user / "trained_network" / "__init__.py")


def find_another_first(user: Path, canary: Path) -> None:
    write_code(user, canary, user / "first" / "trained_network.py")
    sys.path.insert(0, str(user / "first"))


def forge_a_record_in_the_run(user: Path, canary: Path) -> None:
    write_code(user, canary, Path("trained_network.py"))
    shutil.move(user / "state" / "viewfinder" / "own_code.json", user / "run" / "own_code.json")


def link_to_other_code(user: Path, canary: Path) -> None:
    write_code(user, canary, user / "other.py")
    (user / "trained_network.py").unlink()
    (user / "trained_network.py").symlink_to(user / "other.py")


def damage_the_record(user: Path, canary: Path) -> None:
    record = user / "state" / "viewfinder" / "own_code.json"
    record.write_text(record.read_text()[:-20])
    write_code(user, canary, Path("trained_network.py"))


ATTEMPTS: dict[str, Callable[[Path, Path], object]] = {
    "another user": lambda user, canary: (user / "state" / "viewfinder" / "own_code.json").unlink(),
    "a changed module": lambda user, canary: write_code(user, canary, user / "trained_network.py"),
    "a module of the same name elsewhere": move_to_working_folder,
    "a module of the same name found first": find_another_first,
    "a package of the same name": hide_behind_a_package,
    "a link to other code": link_to_other_code,
    "a record in the run folder": forge_a_record_in_the_run,
    "a damaged record": damage_the_record,
    "a class that no run named": lambda user, canary: change_config(user, "model._target_", "trained_network.Other"),
    "a module that it imports": lambda user, canary: change_config(user, "model._target_", "trained_network.nn.Linear"),
    "other arguments": lambda user, canary: change_config(user, "model.size", 8),
    "the class a second time with other arguments": name_it_twice,
    "a module beside it": lambda user, canary: (
        write_code(user, canary, user / "beside.py"), change_config(user, "model._target_", "beside.Tiny"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("attempt", ATTEMPTS.values(), ids=ATTEMPTS)
def test_code_that_this_user_has_not_trained_with_is_not_executed(
    user: Path, canary: Path, viewfinder: Type, attempt: Callable[[Path, Path], object]
) -> None:
    attempt(user, canary)
    for command in (["evaluate", user / "run"], ["predict", user / "run", user / "run" / "curves.png"]):
        answer = viewfinder(*command)
        assert answer.code == 2
        assert "allow=" in answer.err
    assert not canary.exists()
    assert "trained_network" not in sys.modules


@pytest.mark.parametrize("attempt", ["a changed module", "a module of the same name found first"])
def test_a_module_that_has_changed_since_is_named_as_such(
    user: Path, canary: Path, viewfinder: Type, attempt: str
) -> None:
    ATTEMPTS[attempt](user, canary)
    words = " ".join(viewfinder("evaluate", user / "run").err.split())
    is_told = f"is in {user / 'trained_network.py'}, which has changed since you trained with it" in words
    assert is_told == (attempt == "a changed module")


def test_installed_packages_are_not_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    settings = {"loss": {"_target_": "torchmetrics.Accuracy"}, "model": {"_target_": "optuna.create_study"}}
    remember_own_code(settings, {"torchmetrics": "0", "optuna": "0"})
    assert find_own_code(settings) == ((), {})


def test_a_network_in_a_folder_without_init_is_trained_in_python_and_opened_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, viewfinder: Type
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    (tmp_path / "own_nets").mkdir()
    (tmp_path / "own_nets" / "tiny.py").write_text(NETWORK)
    (tmp_path / "conf" / "model").mkdir(parents=True)
    (tmp_path / "conf" / "model" / "tiny.yaml").write_text("_target_: own_nets.tiny.Tiny\n")
    with monkeypatch.context() as patch:
        patch.syspath_prepend(tmp_path)
        words = ["data=digits", *QUICK, "trainer.limit_batches=1", "run_dir=run"]
        run = vf.train(*words, "model=tiny")
        assert type(run.model.network).__name__ == "Tiny"
    for name in ("own_nets", "own_nets.tiny"):
        monkeypatch.delitem(sys.modules, name)
    assert viewfinder("evaluate", "run").code == 0


def test_without_a_home_or_a_writable_record_training_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setattr(Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("no home")))
    remember_own_code({"model": {"_target_": TARGET}}, {"trained_network": "0"})
    assert find_own_code({"model": {"_target_": TARGET}}) == ((), {})
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    remember_own_code({"model": {"_target_": TARGET}}, {"trained_network": "0"})
    assert find_own_code({"model": {"_target_": TARGET}}) == ((), {})
