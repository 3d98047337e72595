"""A run folder that somebody else made: whatever is in it is data, and what is wrong with it is said on one screen."""

import json
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import CLASSES, QUICK, Answer, Page, Train, Type
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from viewfinder.config.instantiate import instantiate, validate_node
from viewfinder.config.overrides import compose_config
from viewfinder.config.trust import TrustPolicy
from viewfinder.errors import UserError, printable
from viewfinder.experiment.run import run_experiment
from viewfinder.runs.folder import RunFolder

NET = "viewfinder.models.simple_cnn.SimpleCNN"
BUILD = "viewfinder.experiment.build"
CIFAR = "viewfinder.data.sources.cifar10.CIFAR10"
TOUCH = "open({!r}, 'w').close()"


class Payload:
    """What, unpickled, makes a file."""

    def __init__(self, canary: Path):
        self.canary = canary

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str, dict[str, Any]]]:
        return exec, (TOUCH.format(str(self.canary)), {})


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    """What must never come to be."""
    return tmp_path / "canary"


@pytest.fixture
def run(finished: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    """A copy of a run folder, to be tampered with; it is the working folder."""
    shutil.copytree(finished.path, tmp_path / "run")
    monkeypatch.chdir(tmp_path / "run")
    return RunFolder(tmp_path / "run")


def refused(answer: Answer, *said: str) -> None:
    assert answer.code == 2, answer
    assert "Traceback" not in answer.err + answer.out
    assert len(answer.err.splitlines()) <= 24, answer.err
    flat = " ".join(answer.err.split())
    assert [word for word in said if word not in flat] == [], answer.err


def put(run: RunFolder, changes: dict[str, Any]) -> None:
    """Into config.yaml: dotted keys and their values."""
    cfg = OmegaConf.load(run.config)
    for key, value in changes.items():
        OmegaConf.update(cfg, key, value, merge=False)
    run.config.write_text(OmegaConf.to_yaml(cfg), encoding="utf-8")


def outside(run: RunFolder) -> list[tuple[str, int]]:
    """What lies beside the run folder, and what lies in it."""
    return sorted((str(path), path.stat().st_mtime_ns) for path in run.path.parent.rglob("*") if path.is_file())


# Code in checkpoints


@pytest.mark.parametrize("name", ["best.ckpt", "last.ckpt"])
@pytest.mark.parametrize("kind", ["pickle", "torch", "in a tensor's place"])
def test_a_payload_in_a_checkpoint_is_not_run(
    run: RunFolder, viewfinder: Type, canary: Path, name: str, kind: str
) -> None:
    file, payload = run.path / name, Payload(canary)
    if kind == "pickle":
        file.write_bytes(pickle.dumps(payload))
    elif kind == "torch":
        torch.save(payload, file)
    else:
        state = torch.load(file, weights_only=True)
        state["state_dict"]["network.layers.0.weight"] = payload
        torch.save(state, file)
    before = outside(run)
    refused(viewfinder("evaluate", run.path, "--weights", name.partition(".")[0]), name, "cannot be read")
    assert not canary.exists()
    assert outside(run) == before


def test_a_payload_in_a_file_of_weights_is_not_run(tiny: list[str], canary: Path, tmp_path: Path) -> None:
    torch.save(Payload(canary), tmp_path / "resnet.pth")
    typed = [*(word for word in tiny if "image_size" not in word), "model=resnet50", "data.channels=3"]
    with pytest.raises(UserError, match="cannot be read as weights"):
        run_experiment(compose_config([*typed, f"model.weights={tmp_path / 'resnet.pth'}"]))
    assert not canary.exists()


# Code in configurations

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


def filled(value: Any, words: dict[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: filled(child, words) for key, child in value.items()}
    if isinstance(value, list):
        return [filled(child, words) for child in value]
    for word, meant in words.items():
        value = value.replace(word, meant) if isinstance(value, str) else value
    return value


@pytest.mark.parametrize(("changes", "said"), HOSTILE.values(), ids=HOSTILE)
def test_a_configuration_runs_nothing_that_is_not_trusted(
    run: RunFolder, viewfinder: Type, canary: Path, changes: dict[str, Any], said: str
) -> None:
    script = TOUCH.format(str(canary))
    for name in ("evil.py", "viewfinder_evil.py", "hubconf.py"):
        (run.path / name).write_text(script)
    torch.save(Payload(canary), run.path / "payload.pt")
    put(run, filled(changes, {"CANARY": str(canary), "SCRIPT": script, "PAYLOAD": str(run.path / "payload.pt")}))
    before = outside(run)
    refused(viewfinder("evaluate", "."), said)
    refused(viewfinder("predict", ".", run.curves), said)
    assert not canary.exists()
    assert outside(run) == before


@pytest.mark.parametrize("name", ["os", "builtins", "[subprocess]"])
def test_not_even_a_person_can_allow_the_standard_library(run: RunFolder, viewfinder: Type, name: str) -> None:
    refused(viewfinder("evaluate", ".", f"allow={name}"), "Python's standard library")


def test_modules_in_the_working_folder_take_no_library_s_place(run: RunFolder, canary: Path) -> None:
    for name in ("torch", "pandas", "yaml", "IPython", "onnx", "numexpr", "rich", "hydra_plugins", "evil"):
        (run.path / f"{name}.py").write_text(TOUCH.format(str(canary)))
    script = Path(sys.executable).with_name("viewfinder")
    source = Path(sys.modules["viewfinder"].__path__[0]).parent
    done = subprocess.run(
        [script, "evaluate", ".", "model.width=11"],
        env={**os.environ, "PYTHONPATH": str(source)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, "best.ckpt" in done.stderr) == (2, True), done.stderr
    assert not canary.exists()


@pytest.mark.parametrize(
    "word", ["trainer=cpu", "data.=1", ".=1", "=1", "a[=1", "data.root.x=1", "seed=${", "seed=${a}"]
)
def test_what_is_no_key_or_value_is_refused(run: RunFolder, viewfinder: Type, word: str) -> None:
    refused(viewfinder("evaluate", ".", word), "the command line")


# What is trusted

TINY = """
from torch import nn
from viewfinder.data.preprocess import Preprocess

class Tiny(nn.Sequential):
    def __init__(self, channels: int, classes: int, size: int = 8):
        super().__init__(nn.Flatten(), nn.Linear(channels * size * size, classes))
        self.preprocess = Preprocess(size)

def tiny(channels, classes):
    return Tiny(channels, classes)
"""


@pytest.mark.parametrize("target", ["of_ones_own.Tiny", "of_ones_own.tiny"])
def test_a_network_of_ones_own_needs_its_name_only_when_it_is_opened_again(
    train: Train, viewfinder: Type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "of_ones_own", raising=False)
    (tmp_path / "of_ones_own.py").write_text(TINY)
    (tmp_path / "conf" / "model").mkdir(parents=True)
    (tmp_path / "conf" / "model" / "tiny.yaml").write_text(f"_target_: {target}\n")
    with monkeypatch.context() as patch:
        patch.syspath_prepend(tmp_path)
        cfg = compose_config(["model=tiny", "data=digits", *QUICK, "trainer.limit_batches=1", "run_dir=run"])
        run_experiment(cfg)
    refused(viewfinder("evaluate", "run"), "allow=of_ones_own")
    answer = viewfinder("evaluate", "run", f"allow={target}")
    assert (answer.code, answer.err) == (0, "")
    assert "Equal to scores.json." in answer.out
    answer = viewfinder("predict", "run", f"allow={target}", "run/curves.png")
    assert (answer.code, answer.err) == (0, "")


INSTALLED = {
    "elsewhere.Net": "from torch import nn\nclass Net(nn.Module): pass\n",
    "elsewhere.sub.Net": "from torch import nn\nclass Net(nn.Module): pass\n",
}


@pytest.mark.parametrize("target", INSTALLED)
def test_an_installed_package_is_taken_where_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str
) -> None:
    package = tmp_path / "site-packages" / "elsewhere"
    package.mkdir(parents=True)
    for name in ("__init__.py", "sub.py"):
        (package / name).write_text(INSTALLED[target])
    monkeypatch.syspath_prepend(tmp_path / "site-packages")
    for name in ("elsewhere", "elsewhere.sub"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    with pytest.raises(UserError, match="allow=elsewhere"):
        TrustPolicy(own_files=True).import_trusted(target, "model")
    assert "elsewhere" not in sys.modules
    module = target.rpartition(".")[0]
    assert TrustPolicy((module,)).import_trusted(target, "model").__module__ == module
    with pytest.raises(UserError, match=r"allow=\[elsew,elsewhere.s,elsewhere\]"):
        TrustPolicy(("elsew", "elsewhere.s")).import_trusted(target, "model")


LPIPS = [f"torchmetrics.functional.image.lpips.{name}" for name in ("Alexnet", "SqueezeNet", "_LPIPS")]
KINDS = {
    ("torchvision.models.resnet18", "model"): True,
    ("torchvision.models.get_model", "model"): True,
    ("torchvision.models.resnet18", "optimizer"): False,
    ("torch.nn.CrossEntropyLoss", "loss"): True,
    ("torch.load", "model"): False,
    ("torch.hub.load", "model"): False,
    ("torch.jit.load", "model"): False,
    ("torch.optim.RMSprop", "optimizer"): True,
    ("torch.optim.lr_scheduler.ExponentialLR", "scheduler"): True,
    ("viewfinder.training.schedulers.cosine", "scheduler"): True,
    ("viewfinder.training.schedulers.cosine", "model"): False,
    ("viewfinder.data.sources.digits.Digits", "data"): True,
    ("viewfinder.data.module.ImageData", "data"): False,
    ("viewfinder.data.augment.Basic", "augment"): True,
    ("torch.distributed.launcher.api.elastic_launch", "augment"): False,
    ("viewfinder.data.preprocess.Preprocess", "augment"): False,
    ("viewfinder.training.trainer.build_trainer", "trainer"): True,
    ("viewfinder.training.trainer.quiet_lightning", "trainer"): False,
    ("pytorch_lightning.Trainer", "trainer"): False,
    ("torch.nn.ReLU", ""): True,
    ("viewfinder.runs.folder.RunFolder", ""): False,
    ("torchmetrics.functional.image.lpips.Alexnet", "model"): True,
    ("viewfinder.models.mlp.MLP", "model"): True,
    ("viewfinder.models.mlp.MLP", ""): True,
    ("viewfinder.models.mlp.MLP", "loss"): False,
    ("viewfinder.data.preprocess.Preprocess", "model"): False,
    ("viewfinder.training.losses.CrossEntropy", "loss"): True,
    ("viewfinder.training.losses.CrossEntropy", "model"): False,
    ("viewfinder.training.classifier.Classifier", "model"): False,
    ("viewfinder.experiment.build.build_network", ""): False,
    ("viewfinder.experiment.build.rebuild_network", "model"): False,
}


@pytest.mark.parametrize(("target", "place"), KINDS)
def test_a_place_takes_what_it_needs_alone(target: str, place: str) -> None:
    try:
        TrustPolicy(own_files=True).import_trusted(target, place)
        taken = True
    except UserError:
        taken = False
    assert taken == KINDS[target, place]


@pytest.mark.parametrize("target", [*LPIPS, "pytorch_lightning.core.module.Metric"])
def test_what_torchmetrics_builds_is_taken_of_a_stranger_where_it_is_named(target: str) -> None:
    with pytest.raises(UserError, match="allow=torchmetrics"):
        TrustPolicy().import_trusted(target, "model")
    assert TrustPolicy((target,)).import_trusted(target, "model").__module__.startswith("torchmetrics")


HIDING = """
from dataclasses import dataclass
from torch import nn

@dataclass
class Wide:
    by: int
    def __call__(self, pixels, generator):
        return pixels

class Layer(nn.Module):
    def __init__(self, **parts):
        super().__init__()
        self.parts_given = parts

class Pool:
    Layer = Wide
"""


def test_what_is_built_is_what_was_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where a package's attribute hides the module of the same name, at any depth."""
    package = tmp_path / "hiding"
    package.mkdir()
    (package / "__init__.py").write_text("from hiding.parts import Pool\nfrom hiding.parts import Pool as parts\n")
    (package / "parts.py").write_text(HIDING)
    monkeypatch.syspath_prepend(tmp_path)
    wide = {"_target_": "hiding.parts.Wide", "by": 2}
    within = {"_target_": "hiding.parts.Layer", "deep": [{"a": wide}], "later": {**wide, "_partial_": True}}
    kept = {"_target_": "hiding.parts.Layer", "_recursive_": False, "deep": wide}
    node = {"_target_": "hiding.parts.Layer", "within": within, "kept": kept}
    found = []

    def find(target: str, place: str) -> Callable[..., Any]:
        found.append(TrustPolicy(own_files=True).import_trusted(target, place))
        return found[-1]

    assert validate_node("model", node, set(), find) == []
    built = instantiate(node, "model").parts_given
    layer, dataclass = found[0], found[2]
    assert [type(each) for each in built.values()] == [layer, layer]
    parts = built["within"].parts_given
    assert type(parts["deep"][0]["a"]) is dataclass
    assert (parts["later"].func, parts["later"]()) == (dataclass, dataclass(2))
    assert built["kept"].parts_given == {"deep": wide}
    for name in ("hiding", "hiding.parts"):
        del sys.modules[name]


def test_a_network_in_a_module_with_a_function_s_name_is_built() -> None:
    target = "torchvision.models.alexnet.AlexNet"
    node = {"_target_": target, "num_classes": 3}
    assert validate_node("model", node, set(), TrustPolicy().import_trusted) == []
    assert type(instantiate(node, "model")) is TrustPolicy().import_trusted(target, "model")


# Places


def test_a_run_of_cifar10_downloads_nothing_and_makes_no_folder(
    run: RunFolder, viewfinder: Type, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torchvision.datasets.CIFAR10.download", lambda _: pytest.fail("a download"))
    put(
        run,
        {"data": {"_target_": CIFAR, "root": "../../in/here", "download": True}},
    )
    before = outside(run)
    refused(viewfinder("evaluate", "."), "data.download=true")
    assert outside(run) == before
    assert not (run.path.parent.parent / "in").exists()


def test_names_of_places_in_a_run_s_files_are_not_written_to(run: RunFolder, viewfinder: Type, tmp_path: Path) -> None:
    put(run, {"name": "../../up", "output_dir": "../out", "run_dir": "../other"})
    facts = json.loads(run.run.read_text())
    run.run.write_text(json.dumps(facts | {"working_folder": "../up", "report": "../page.html"}))
    beside = {path for path in tmp_path.rglob("*") if run.path not in path.parents}
    assert viewfinder("report", ".").code == 0
    assert viewfinder("evaluate", ".").code == 0
    assert {path for path in tmp_path.rglob("*") if run.path not in path.parents} == beside


def test_what_reaches_out_of_a_run_folder_is_replaced_not_followed(
    run: RunFolder, viewfinder: Type, tmp_path: Path
) -> None:
    (tmp_path / "precious").write_text("mine")
    for file in (run.report, run.curves, run.confusion):
        file.unlink()
        file.symlink_to(tmp_path / "precious")
    assert viewfinder("report", ".").code == 0
    assert (tmp_path / "precious").read_text() == "mine"


# Names

NAMES = ("<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "\x1b[31m[red]{{ 7*7 }}:car:\u202e$\\frac{")


def renamed(run: RunFolder, names: tuple[str, ...] = NAMES) -> None:
    """The run with other class names, everywhere."""
    data, scores = (json.loads(path.read_text(encoding="utf-8")) for path in (run.data, run.scores))
    data["class_names"] = list(names)
    for which in scores.values():
        for split in ("val", "test"):
            which[split]["per_class"] = dict(zip(names, which[split]["per_class"].values(), strict=True))
    run.data.write_text(json.dumps(data))
    run.scores.write_text(json.dumps(scores))


@pytest.mark.filterwarnings("ignore:Glyph")
def test_a_page_shows_names_and_runs_none(run: RunFolder, viewfinder: Type) -> None:
    renamed(run)
    put(run, {"name": NAMES[0]})
    facts = json.loads(run.run.read_text())
    facts |= {"command": NAMES[1], "device": NAMES[0], "versions": {NAMES[0]: NAMES[1]}, "started": NAMES[1]}
    run.run.write_text(json.dumps(facts))
    answer = viewfinder("report", ".")
    assert answer.code == 0, answer.err
    html = run.report.read_text(encoding="utf-8")
    page = Page(html)
    assert page.tags.isdisjoint({"script", "iframe", "object"})
    assert "<script" not in html
    assert [each for each in page.fetched if not each.startswith("data:image/png;base64,")] == []
    assert set(NAMES) <= {each.strip() for each in page.text}


def test_a_terminal_shows_names_and_obeys_none(run: RunFolder, viewfinder: Type) -> None:
    renamed(run)
    answer = viewfinder("predict", ".", run.curves)
    assert answer.code == 0
    assert "\x1b" not in answer.out
    assert "\u202e" not in answer.out
    for name in NAMES:
        assert printable(name) in answer.out
    answer = viewfinder("evaluate", ".")
    refused(answer, "other classes than the run", r"\x1b[31m[red]")
    assert "\x1b" not in answer.err


def test_what_is_printed_is_as_it_is_but_for_what_steers_a_terminal() -> None:
    same = ("grün, blau", "[red]猫\u3000🧑\u200d🚀", "a b")
    assert [printable(text) for text in same] == list(same)
    assert printable("a\x1b]0;b\x07\n\x9b\udc80\u202e") == r"a\x1b]0;b\x07\n\x9b\udc80\u202e"


# What is malformed

DEEP, HUGE = 100_000, "9" * 5000
CONFIGS = {
    "empty": b"",
    "a number": b"5",
    "a list": b"[1, 2]",
    "cut": b"model: [",
    "no text": bytes(range(256)),
    "deep": b"a: " + b"[" * DEEP,
    "large": b"a: 1\n" * 300_000,
    "tag": b"model: !!python/object/apply:os.system ['touch canary']",
    "other tag": b"model: !!python/name:os.system",
    "alias": b"a: &a [1]\nb: [*a, *a]\n",
    "interpolation": b"name: ${oc.env:HOME}\n",
    "hidden interpolation": b"name: '\\${oc.env:HOME}'\n",
    "interpolated key": b"'${oc.env:HOME}': 1\n",
    "decoding": b"seed: ${oc.decode:5}\n",
    "keys twice": b"seed: 1\nseed: 2\n",
    "number as a key": b"1: 2\n",
    "date": b"name: 2026-01-01\n",
    "binary": b"name: !!binary aGk=\n",
    "other keys": b"name: run\n",
}
CHANGES: dict[str, dict[str, Any]] = {
    "no model": {"model": None},
    "no data": {"data": None},
    "a trainer in words": {"trainer": "cpu"},
    "a schedule in words": {"scheduler": "cosine"},
    "a model in words": {"model": "resnet"},
    "a model of nothing": {"model": {"width": 5}},
    "an augmentation of nothing": {"augment": {"flip": 0.5}},
    "a seed in words": {"seed": "one"},
    "a seed below zero": {"seed": -1},
    "a batch of none": {"data.batch_size": 0},
    "a rate that is none": {"optimizer.lr": float("nan")},
    "a network too wide": {"model.width": 10**15},
    "pictures too large": {"model.image_size": 10**9},
    "a loss of other things": {"loss": {"_target_": "torch.nn.CosineEmbeddingLoss"}},
    "a loss that is many": {"loss": {"_target_": "torch.nn.CrossEntropyLoss", "reduction": "none"}},
    "a network without pictures": {"model": {"_target_": "torch.nn.ReLU"}},
}
JSON = {
    "empty": b"",
    "cut": b'{"status": ',
    "a list": b"[]",
    "nothing": b"{}",
    "no text": bytes(range(256)),
    "deep": b"[" * DEEP,
    "a huge number": b'{"status": ' + HUGE.encode() + b"}",
}
FACTS: dict[str, list[dict[str, Any]]] = {
    "run.json": [
        {"status": 5}, {"threads": 0}, {"threads": 10**9}, {"epoch_seconds": [float("nan")]}, {"network": "net"},
        {"machine": {}}, {"versions": [1]}, {"seed": -1},
    ],
    "data.json": [
        {"class_names": [1, 2, 3]}, {"class_names": ["a", "a", "b"]}, {"class_names": []}, {"class_names": ["a", "b"]},
        {"channels": -1}, {"channels": float("nan")}, {"picture_size": [8]}, {"picture_size": [10**9, 10**9]},
        {"picture_size": ["8", "8"]}, {"class_counts": None}, {"fingerprint": "x"}, {"split_sizes": {"train": -1}},
    ],
    "scores.json": [
        {"best.epoch": 0}, {"best.epoch": 10**400}, {"best.test": None}, {"last": {}}, {"best.test.accuracy": "1"},
        {"best.test.accuracy": float("nan")}, {"best.test.f1": 2.0}, {"best.test.confusion": [[1, 2], [3]]},
        {"best.test.confusion.0.0": -1}, {"best.test.confusion.0.0": 10**30}, {"best.test.per_class": {}},
        {"best.val.loss": None},
    ],
}  # fmt: skip
HEAD = b"epoch,train/loss,train/accuracy,val/loss,val/accuracy\n"
TABLES = {
    "empty": b"",
    "other columns": b"a,b\n1,2\n",
    "no rows": HEAD,
    "words": HEAD + b"1,one,0.5,1,0.5\n",
    "no text": bytes(range(256)),
    "not numbers": HEAD + b"1,1,nan,1,nan\n",
    "too large": HEAD + b"1,1,1e300,1,0.5\n",
    "too many cells": HEAD + b"1,2,3,4,5,6,7,8\n1\n1,2,3,4,5,6,7,8,9\n",
}
VERBS = {
    "config.yaml": ("evaluate", "predict", "compare", "report"),
    "run.json": ("evaluate", "compare", "report"),
    "data.json": ("evaluate", "predict", "report"),
    "scores.json": ("evaluate", "compare", "report"),
    "metrics.csv": ("report",),
}


def refused_by(viewfinder: Type, run: RunFolder, name: str) -> None:
    """Every command that reads the file says that it is wrong."""
    before = outside(run)
    for verb in VERBS[name]:
        refused(viewfinder(verb, ".", *["curves.png"] * (verb == "predict")), name)
    assert outside(run) == before


@pytest.mark.parametrize("content", CONFIGS.values(), ids=CONFIGS)
def test_a_config_that_viewfinder_would_not_write_is_refused_by_its_name(
    run: RunFolder, viewfinder: Type, content: bytes
) -> None:
    run.config.write_bytes(content)
    refused_by(viewfinder, run, "config.yaml")
    assert not Path("canary").exists()


@pytest.mark.parametrize("changes", CHANGES.values(), ids=CHANGES)
def test_a_config_that_makes_no_network_is_refused(run: RunFolder, viewfinder: Type, changes: dict[str, Any]) -> None:
    put(run, changes)
    refused(viewfinder("evaluate", "."))


@pytest.mark.parametrize("name", FACTS)
@pytest.mark.parametrize("content", JSON.values(), ids=JSON)
def test_a_file_that_is_no_json_is_refused_by_its_name(
    run: RunFolder, viewfinder: Type, name: str, content: bytes
) -> None:
    (run.path / name).write_bytes(content)
    refused_by(viewfinder, run, name)


@pytest.mark.parametrize(
    ("name", "changes"),
    [pytest.param(name, each, id=f"{name} {str(each)[:40]}") for name, all_ in FACTS.items() for each in all_],
)
def test_a_fact_that_cannot_be_is_refused_by_its_file(
    run: RunFolder, viewfinder: Type, name: str, changes: dict[str, Any]
) -> None:
    facts = json.loads((run.path / name).read_text(encoding="utf-8"))
    for key, value in changes.items():
        *path, last = (int(word) if word.isdigit() else word for word in key.split("."))
        node = facts
        for word in path:
            node = node[word]
        node[last] = value
    (run.path / name).write_text(json.dumps(facts))
    refused_by(viewfinder, run, name)


@pytest.mark.parametrize("content", TABLES.values(), ids=TABLES)
def test_a_table_that_is_none_is_refused_by_its_name(run: RunFolder, viewfinder: Type, content: bytes) -> None:
    run.metrics.write_bytes(content)
    refused_by(viewfinder, run, "metrics.csv")


@pytest.mark.parametrize(("verb", "code"), [("compare", 0), ("report", 2)])
def test_one_malformed_run_does_not_keep_a_command_from_the_others(
    finished: RunFolder, viewfinder: Type, tmp_path: Path, verb: str, code: int
) -> None:
    for name in ("1", "2", "3"):
        shutil.copytree(finished.path, tmp_path / name, ignore=shutil.ignore_patterns("report.html"))
    (tmp_path / "2" / "scores.json").write_text("{")
    answer = viewfinder(verb, tmp_path)
    assert answer.code == code
    assert str(tmp_path / "2" / "scores.json") in answer.out + answer.err
    if verb == "report":
        assert [(tmp_path / name / "report.html").is_file() for name in "123"] == [True, False, True]


# Damage


@st.composite
def damages(draw: st.DrawFn) -> Callable[[bytes], bytes]:
    """Some bytes changed, left out or put in, or the end cut off."""
    kind = draw(st.sampled_from(["change", "insert", "remove", "cut"]))
    places = draw(st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=4))
    new = draw(st.binary(min_size=1, max_size=4))

    def damaged(whole: bytes) -> bytes:
        content = bytearray(whole)
        for place in places:
            at = int(place * len(content))
            if kind == "cut":
                return bytes(content[:at])
            content[at : at + (0 if kind == "insert" else len(new))] = b"" if kind == "remove" else new
        return bytes(content)

    return damaged


@pytest.mark.parametrize("name", ["best.ckpt", "config.yaml", "data.json"])
@settings(
    max_examples=40, deadline=None, derandomize=True, database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], phases=[Phase.generate],
)  # fmt: skip
@given(damage=damages())
def test_a_damaged_file_changes_no_score_or_is_refused(
    finished: RunFolder, run: RunFolder, viewfinder: Type, name: str, damage: Callable[[bytes], bytes]
) -> None:
    whole, said = (finished.path / name).read_bytes(), run.path.parent / "said.json"
    (run.path / name).write_bytes(damage(whole))
    said.unlink(missing_ok=True)
    answer = viewfinder("evaluate", ".", "--json", said)
    if answer.code:
        refused(answer)
    elif name == "best.ckpt":  # another number in a text file may be another setting
        assert json.loads(said.read_text(encoding="utf-8")) == finished.read_scores()["best"]["test"]


def test_what_is_used_here_is_a_run_that_opens(run: RunFolder, viewfinder: Type) -> None:
    answer = viewfinder("evaluate", ".")
    assert (answer.code, answer.err) == (0, "")
    assert "Equal to scores.json." in answer.out
    assert [name for name in CLASSES if printable(name) not in answer.out] == []
