"""Run folders of earlier versions are evaluated, resumed and compared as if this version had written them."""

import contextlib
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from conftest import THREE_EPOCHS, Train, Type, assert_same_run, train_into

from viewfinder.config.instantiate import import_target
from viewfinder.config.moved import current_target
from viewfinder.errors import Stopped
from viewfinder.experiment.load import open_run
from viewfinder.runs.folder import RunFolder

EARLIER_TARGETS = {
    "viewfinder.training.losses.CrossEntropy": "viewfinder.loss.CrossEntropy",
    "viewfinder.data.sources.cifar10.CIFAR10": "viewfinder.data.cifar10.CIFAR10",
    "viewfinder.data.sources.digits.Digits": "viewfinder.data.digits.Digits",
    "viewfinder.data.sources.image_folder.ImageFolder": "viewfinder.data.image_folder.ImageFolder",
    "viewfinder.training.schedulers.cosine": "viewfinder.schedulers.cosine",
    "viewfinder.training.schedulers.one_cycle": "viewfinder.schedulers.one_cycle",
    "viewfinder.training.schedulers.plateau": "viewfinder.schedulers.plateau",
    "viewfinder.training.schedulers.step": "viewfinder.schedulers.step",
    "viewfinder.training.trainer.build_trainer": "viewfinder.trainer.build_trainer",
}
UNMOVED_TARGETS = (
    "viewfinder.data.augment.Basic", "viewfinder.models.custom_cnn.CustomCNN", "viewfinder.models.mlp.MLP",
    "viewfinder.models.pretrained.Pretrained", "viewfinder.models.simple_cnn.SimpleCNN", "torch.optim.Adam",
)  # fmt: skip


def make_earlier(run: RunFolder) -> RunFolder:
    """Give the classes in a run's config.yaml the names of an earlier version, which had no group `logger`."""
    text = re.sub(r"^logger:\n( .*\n)*", "", run.config.read_text(encoding="utf-8"), flags=re.MULTILINE)
    for target, earlier in EARLIER_TARGETS.items():
        text = text.replace(f"_target_: {target}\n", f"_target_: {earlier}\n")
    run.config.write_text(text, encoding="utf-8")
    targets = {node["_target_"] for node in yaml.safe_load(text).values() if isinstance(node, dict) and node}
    assert targets <= {*EARLIER_TARGETS.values(), *UNMOVED_TARGETS}
    assert {"viewfinder.loss.CrossEntropy", "viewfinder.trainer.build_trainer"} <= targets
    return run


@pytest.fixture
def earlier(finished: RunFolder, tmp_path: Path) -> RunFolder:
    """Finished run with the names of an earlier version."""
    return make_earlier(RunFolder.open(shutil.copytree(finished.path, tmp_path / "earlier")))


@pytest.mark.parametrize("target", [*EARLIER_TARGETS.values(), *UNMOVED_TARGETS])
def test_every_class_that_an_earlier_version_shipped_is_still_found(target: str) -> None:
    assert current_target(target) == {old: new for new, old in EARLIER_TARGETS.items()}.get(target, target)
    assert callable(import_target(current_target(target)))


def test_an_earlier_run_is_read_with_the_present_names(earlier: RunFolder, finished: RunFolder) -> None:
    assert earlier.config.read_bytes() != finished.config.read_bytes()
    present = {group: node for group, node in finished.read_settings().items() if group != "logger"}
    assert earlier.read_settings() == present


@pytest.mark.parametrize("weights", ["best", "last"])
def test_an_earlier_run_is_evaluated(earlier: RunFolder, viewfinder: Type, weights: str) -> None:
    answer = viewfinder("evaluate", earlier.path, "--weights", weights)
    assert (answer.code, answer.err) == (0, "")
    assert "Equal to scores.json." in answer.out


def test_an_earlier_run_is_resumed_and_ends_bit_identical(
    tiny: list[str], at_step: Callable[[int, Callable[[], Any]], None], tmp_path: Path, whole: RunFolder,
    viewfinder: Type,
) -> None:  # fmt: skip
    def stop() -> None:
        raise Stopped(15)

    at_step(18, stop)  # in the third epoch
    with contextlib.suppress(Stopped):
        train_into(tmp_path / "run", *tiny, *THREE_EPOCHS)
    run = make_earlier(RunFolder.open(tmp_path / "run"))
    assert run.status == "interrupted"
    assert set(torch.load(run.last, weights_only=True)["callbacks"]) == {"Recorder"}
    answer = viewfinder("resume", run.path)
    assert (answer.code, answer.err) == (0, "")
    assert "resumed  after epoch 2, from last.ckpt" in answer.out
    assert_same_run(run, whole)


def test_an_earlier_run_is_extended(train: Train, tmp_path: Path, whole: RunFolder, viewfinder: Type) -> None:
    run = make_earlier(train(tmp_path / "run", *THREE_EPOCHS, "trainer.max_epochs=2"))
    assert viewfinder("resume", run.path, "trainer.max_epochs=3").code == 0
    assert_same_run(run, whole)


def test_an_earlier_run_compares_as_the_same_setting(earlier: RunFolder, finished: RunFolder, viewfinder: Type) -> None:
    answer = viewfinder("compare", earlier.path, finished.path)
    assert answer.code == 0
    assert "1 of 2 runs repeat the setting and seed of another" in " ".join((answer.out + answer.err).split())
    assert "_target_" not in answer.out


def test_a_report_of_an_earlier_run_is_written_again(earlier: RunFolder, viewfinder: Type) -> None:
    earlier.report.unlink()
    assert viewfinder("report", earlier.path).code == 0
    assert earlier.report.is_file()


def test_an_earlier_resnet50_is_opened_with_its_own_weights(train: Train, tmp_path: Path, finished: RunFolder) -> None:
    """Its class has become Pretrained, whose arguments have the values that ResNet50 had."""
    overrides = ["model=resnet50", "model.weights=null", "model.image_size=32", "data.channels=3", "data.limit=8"]
    run = train(tmp_path / "run", *overrides, "trainer.max_epochs=1", "trainer.embeddings=0")
    text = run.config.read_text(encoding="utf-8")
    settings = yaml.safe_load(text)
    moved = ("variant", "hidden", "preprocess", "cache_features")
    model = {key: value for key, value in settings["model"].items() if key not in moved}
    settings["model"] = {**model, "_target_": "viewfinder.models.resnet50.ResNet50"}
    run.config.write_text(yaml.safe_dump(settings), encoding="utf-8")
    network = open_run(run.path, (), "best").classifier.state_dict()
    stored = torch.load(run.best, weights_only=True)["state_dict"]
    assert [key for key in stored if not torch.equal(stored[key], network[key].cpu())] == []
