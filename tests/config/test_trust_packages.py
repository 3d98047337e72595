"""A configuration may name classes of trusted or allowed packages, of the type that its group requires."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import QUICK, Train, Type, raises_user_error
from untrusted_runs import assert_rejected

from viewfinder.config.instantiate import instantiate, validate_node
from viewfinder.config.overrides import compose_config
from viewfinder.config.trust import TrustPolicy
from viewfinder.errors import UserError
from viewfinder.experiment.run import run_experiment

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


@pytest.mark.parametrize("target", ["users_own.Tiny", "users_own.tiny"])
def test_a_users_own_network_needs_allow_when_another_user_opens_its_run(
    train: Train, viewfinder: Type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "users_own", raising=False)
    (tmp_path / "users_own.py").write_text(TINY)
    (tmp_path / "conf" / "model").mkdir(parents=True)
    (tmp_path / "conf" / "model" / "tiny.yaml").write_text(f"_target_: {target}\n")
    with monkeypatch.context() as patch:
        patch.syspath_prepend(tmp_path)
        cfg = compose_config(["model=tiny", "data=digits", *QUICK, "trainer.limit_batches=1", "run_dir=run"])
        run_experiment(cfg)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "another user"))
    assert_rejected(viewfinder("evaluate", "run"), "allow=users_own")
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
def test_an_installed_package_is_imported_only_if_it_is_allowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str
) -> None:
    package = tmp_path / "site-packages" / "elsewhere"
    package.mkdir(parents=True)
    for name in ("__init__.py", "sub.py"):
        (package / name).write_text(INSTALLED[target])
    monkeypatch.syspath_prepend(tmp_path / "site-packages")
    for name in ("elsewhere", "elsewhere.sub"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    with raises_user_error("allow=elsewhere"):
        TrustPolicy(own_files=True).import_trusted(target, "model")
    assert "elsewhere" not in sys.modules
    module = target.rpartition(".")[0]
    assert TrustPolicy((module,)).import_trusted(target, "model").__module__ == module
    with raises_user_error(r"allow=\[elsew,elsewhere.s,elsewhere\]"):
        TrustPolicy(("elsew", "elsewhere.s")).import_trusted(target, "model")


LPIPS = [f"torchmetrics.functional.image.lpips.{name}" for name in ("Alexnet", "SqueezeNet", "_LPIPS")]
ACCEPTED = {
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
    ("viewfinder.models.tta.AveragedViews", "tta"): True,
    ("viewfinder.models.mlp.MLP", "tta"): False,
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


@pytest.mark.parametrize(("target", "group"), ACCEPTED)
def test_a_group_accepts_only_the_types_that_it_requires(target: str, group: str) -> None:
    try:
        TrustPolicy(own_files=True).import_trusted(target, group)
        accepted = True
    except UserError:
        accepted = False
    assert accepted == ACCEPTED[target, group]


@pytest.mark.parametrize("target", [*LPIPS, "pytorch_lightning.core.module.Metric"])
def test_torchmetrics_is_imported_for_an_untrusted_run_only_if_it_is_allowed(target: str) -> None:
    with raises_user_error("allow=torchmetrics"):
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


def test_the_constructed_class_is_the_validated_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """This holds even if a package's attribute hides the module of the same name, at any depth."""
    package = tmp_path / "hiding"
    package.mkdir()
    (package / "__init__.py").write_text("from hiding.parts import Pool\nfrom hiding.parts import Pool as parts\n")
    (package / "parts.py").write_text(HIDING)
    monkeypatch.syspath_prepend(tmp_path)
    wide = {"_target_": "hiding.parts.Wide", "by": 2}
    within = {"_target_": "hiding.parts.Layer", "deep": [{"a": wide}], "later": {**wide, "_partial_": True}}
    unconstructed = {"_target_": "hiding.parts.Layer", "_recursive_": False, "deep": wide}
    node = {"_target_": "hiding.parts.Layer", "within": within, "unconstructed": unconstructed}
    imported = []

    def import_target(target: str, group: str) -> Callable[..., Any]:
        imported.append(TrustPolicy(own_files=True).import_trusted(target, group))
        return imported[-1]

    assert validate_node("model", node, set(), import_target) == []
    built = instantiate(node, "model").parts_given
    layer, dataclass = imported[0], imported[2]
    assert [type(module) for module in built.values()] == [layer, layer]
    parts = built["within"].parts_given
    assert type(parts["deep"][0]["a"]) is dataclass
    assert (parts["later"].func, parts["later"]()) == (dataclass, dataclass(2))
    assert built["unconstructed"].parts_given == {"deep": wide}
    for name in ("hiding", "hiding.parts"):
        del sys.modules[name]


def test_a_network_in_a_module_that_a_function_hides_is_constructed() -> None:
    target = "torchvision.models.alexnet.AlexNet"
    node = {"_target_": target, "num_classes": 3}
    assert validate_node("model", node, set(), TrustPolicy().import_trusted) == []
    assert type(instantiate(node, "model")) is TrustPolicy().import_trusted(target, "model")
