"""Code in the checkpoint or the configuration of an untrusted run folder is not executed."""

import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Type, raises_user_error
from untrusted_runs import TOUCH, Payload, assert_rejected, list_files, update_config

from viewfinder.config.overrides import compose_config
from viewfinder.experiment.run import run_experiment
from viewfinder.runs.folder import RunFolder

BUILD = "viewfinder.experiment.build"


@pytest.mark.parametrize("name", ["best.ckpt", "last.ckpt"])
@pytest.mark.parametrize("kind", ["pickle", "torch", "in a tensor's place"])
def test_a_payload_in_a_checkpoint_is_not_executed(
    run_copy: RunFolder, viewfinder: Type, canary: Path, name: str, kind: str
) -> None:
    file, payload = run_copy.path / name, Payload(canary)
    if kind == "pickle":
        file.write_bytes(pickle.dumps(payload))
    elif kind == "torch":
        torch.save(payload, file)
    else:
        state = torch.load(file, weights_only=True)
        state["state_dict"]["network.layers.0.weight"] = payload
        torch.save(state, file)
    before = list_files(run_copy)
    assert_rejected(viewfinder("evaluate", run_copy.path, "--weights", name.partition(".")[0]), name, "cannot be read")
    assert not canary.exists()
    assert list_files(run_copy) == before


def test_a_payload_in_a_file_of_weights_is_not_executed(tiny: list[str], canary: Path, tmp_path: Path) -> None:
    torch.save(Payload(canary), tmp_path / "resnet.pth")
    overrides = [*(word for word in tiny if "image_size" not in word), "model=resnet50", "data.channels=3"]
    with raises_user_error("cannot be read as weights"):
        run_experiment(compose_config([*overrides, f"model.weights={tmp_path / 'resnet.pth'}"]))
    assert not canary.exists()


HOSTILE: dict[str, tuple[dict[str, Any], str]] = {
    "os.system": ({"model": {"_target_": "os.system", "command": "touch CANARY"}}, "Python's standard library"),
    "posix.system": ({"loss": {"_target_": "posix.system", "command": "touch CANARY"}}, "Python's standard library"),
    "eval": ({"optimizer": {"_target_": "builtins.eval", "_args_": ["SCRIPT"]}}, "Python's standard library"),
    "subprocess": (
        {"scheduler": {"_target_": "subprocess.run", "args": ["touch", "CANARY"]}}, "Python's standard library",
    ),
    "pickle": ({"data": {"_target_": "pickle.loads", "data": "x"}}, "Python's standard library"),
    "code": ({"augment": {"_target_": "code.InteractiveInterpreter"}}, "Python's standard library"),
    "torch.load": (
        {"model": {"_target_": "torch.load", "f": "PAYLOAD", "weights_only": False}}, "may download files",
    ),
    "torch.hub.load": (
        {"model": {"_target_": "torch.hub.load", "repo_or_dir": ".", "model": "net", "source": "local"}},
        "may download files",
    ),
    "torch.jit.load": ({"loss": {"_target_": "torch.jit.load", "f": "PAYLOAD"}}, "may download files"),
    "pretrained": (
        {"model.width": {"_target_": "torchvision.models.resnet18", "weights": "DEFAULT"}}, "may download files",
    ),
    "nested": ({"model.width": {"_target_": "os.system", "command": "touch CANARY"}}, "model.width._target_"),
    "deeply nested": (
        {"optimizer.betas": [{"a": [{"_target_": "builtins.exec", "_args_": ["SCRIPT"]}]}, 0.9]},
        "optimizer.betas[0].a[0]._target_",
    ),
    "in _args_": ({"model._args_": [{"_target_": "builtins.exec", "_args_": ["SCRIPT"]}]}, "model._args_[0]._target_"),
    "in _recursive_": (
        {"model._recursive_": {"_target_": "builtins.exec", "_args_": ["SCRIPT"]}}, "model._recursive_._target_",
    ),
    "in _target_": ({"model._target_": {"_target_": "os.system", "command": "x"}}, "model._target_"),
    "partial": (
        {"model.width": {"_target_": "builtins.exec", "_partial_": True, "_args_": ["SCRIPT"]}}, "model.width._target_",
    ),
    "through Hydra": ({"model": {"_target_": "hydra.utils.call", "_args_": ["x"]}}, "allow=hydra"),
    "through our own import": ({"model": {"_target_": "viewfinder.runs.folder.subprocess.run"}}, "not found"),
    "our own function": ({"model": {"_target_": "viewfinder.cli.train.main"}}, "is not annotated to return"),
    "a place's wrong kind": ({"model": {"_target_": "torch.optim.SGD", "lr": 0.1}}, "is not a torch.nn.Module"),
    "a module of the folder": ({"model": {"_target_": "evil.Net"}}, "allow=evil"),
    "allowed by itself": ({"model": {"_target_": "evil.Net"}, "allow": ["evil"]}, "allow=evil"),
    "a path": ({"model": {"_target_": "../evil.Net"}}, "allow"),
    "a path in ours": ({"model": {"_target_": "viewfinder.../evil.Net"}}, "is not a dotted path"),
    "a name like ours": ({"model": {"_target_": "viewfinder_evil.Net"}}, "allow=viewfinder_evil"),
    "Lightning's trainer": (
        {"trainer": {"_target_": "pytorch_lightning.Trainer", "default_root_dir": "../logs"}}, "trainer._target_",
    ),
    "a metric's model": (
        {"loss": {"_target_": "torchmetrics.text.BERTScore", "model_name_or_path": "evil/net"}}, "loss._target_",
    ),
    "a network that downloads": (
        {"model": {"_target_": "torchmetrics.functional.image.lpips.Alexnet"}}, "allow=torchmetrics",
    ),
    "a nested network that downloads": (
        {"model.width": {"_target_": "torchmetrics.functional.image.lpips._LPIPS"}}, "allow=torchmetrics",
    ),
    "a loss that downloads": (
        {"loss": {"_target_": "torchmetrics.functional.image.lpips.SqueezeNet"}}, "allow=torchmetrics",
    ),
    "our own way to build": (
        {"model": {"_target_": f"{BUILD}.build_network", "cfg": {"model": {"_target_": "torch.nn.ReLU"}}}},
        "outside viewfinder.models",
    ),
    "our own way to build again": (
        {"model": {"_target_": "viewfinder.experiment.build.rebuild_network", "cfg": {}}}, "outside viewfinder.models",
    ),
    "no flag": ({"model._recursive_": "yes"}, "_recursive_"),
}  # fmt: skip


def substitute(value: Any, replacements: dict[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: substitute(child, replacements) for key, child in value.items()}
    if isinstance(value, list):
        return [substitute(child, replacements) for child in value]
    for word, replacement in replacements.items():
        value = value.replace(word, replacement) if isinstance(value, str) else value
    return value


@pytest.mark.parametrize(("changes", "expected"), HOSTILE.values(), ids=HOSTILE)
def test_a_configuration_executes_no_untrusted_code(
    run_copy: RunFolder, viewfinder: Type, canary: Path, changes: dict[str, Any], expected: str
) -> None:
    script = TOUCH.format(str(canary))
    for name in ("evil.py", "viewfinder_evil.py", "hubconf.py"):
        (run_copy.path / name).write_text(script)
    torch.save(Payload(canary), run_copy.path / "payload.pt")
    update_config(
        run_copy,
        substitute(changes, {"CANARY": str(canary), "SCRIPT": script, "PAYLOAD": str(run_copy.path / "payload.pt")}),
    )
    before = list_files(run_copy)
    assert_rejected(viewfinder("evaluate", "."), expected)
    assert_rejected(viewfinder("predict", ".", run_copy.curves), expected)
    assert not canary.exists()
    assert list_files(run_copy) == before


@pytest.mark.parametrize("name", ["os", "builtins", "[subprocess]"])
def test_the_standard_library_cannot_be_allowed(run_copy: RunFolder, viewfinder: Type, name: str) -> None:
    assert_rejected(viewfinder("evaluate", ".", f"allow={name}"), "Python's standard library")


def test_modules_in_the_working_folder_do_not_shadow_libraries(run_copy: RunFolder, canary: Path) -> None:
    for name in ("torch", "pandas", "yaml", "IPython", "onnx", "numexpr", "rich", "hydra_plugins", "evil"):
        (run_copy.path / f"{name}.py").write_text(TOUCH.format(str(canary)))
    script = Path(sys.executable).with_name("viewfinder")
    source = Path(sys.modules["viewfinder"].__path__[0]).parent
    process = subprocess.run(
        [script, "evaluate", ".", "model.width=11"],
        env={**os.environ, "PYTHONPATH": str(source)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (process.returncode, "best.ckpt" in process.stderr) == (2, True), process.stderr
    assert not canary.exists()


@pytest.mark.parametrize("word", ["trainer=cpu", "data.=1", ".=1", "=1", "a[=1", "data.root.x=1", "seed=${"])
def test_an_invalid_override_is_rejected(run_copy: RunFolder, viewfinder: Type, word: str) -> None:
    assert_rejected(viewfinder("evaluate", ".", word), "the command line")


def test_an_override_that_refers_to_a_missing_key_is_rejected(run_copy: RunFolder, viewfinder: Type) -> None:
    assert_rejected(viewfinder("evaluate", ".", "seed=${a}"), "seed = ${a}", "Interpolation key 'a' not found")
