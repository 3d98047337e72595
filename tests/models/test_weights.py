"""Weights are read from published names, files, folders and runs; anything else is reported precisely."""

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from conftest import train_into
from omegaconf import OmegaConf
from torch import nn
from weight_files import (
    assert_backbone,
    build_pretrained,
    build_reference,
    published_file,
    read_error,
    to_published_keys,
)

from viewfinder.config.moved import update_targets
from viewfinder.data.resize import Resize
from viewfinder.experiment.load import open_run
from viewfinder.models.mlp import MLP
from viewfinder.models.pretrained import Pretrained
from viewfinder.runs.folder import RunFolder

pytestmark = pytest.mark.usefixtures("quick_random_weights")


@pytest.fixture(scope="module")
def resnet18() -> nn.Module:
    return build_reference("resnet18", 32)


@pytest.fixture(scope="module")
def weights(resnet18: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return published_file(resnet18, tmp_path_factory.mktemp("weights") / "resnet18.pth")


@pytest.fixture(scope="module")
def resnet_run(weights: Path, tiny: list[str], tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run of resnet18, unfrozen."""
    typed = ["model=resnet50", "model.variant=resnet18", f"model.weights={weights}", "model.freeze=false"]
    run = tmp_path_factory.mktemp("runs") / "resnet18"
    return train_into(run, *tiny, *typed, "model.image_size=32", "trainer.max_epochs=1", "model.hidden=[8]")


@pytest.mark.parametrize("place", ["", "checkpoints", "hub/checkpoints"])
def test_weights_are_found_in_a_folder_of_downloads(place: str, weights: Path, tmp_path: Path) -> None:
    folder = tmp_path / place
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(weights, folder / "resnet18-f37072fd.pth")
    assert_backbone(build_pretrained(tmp_path), torch.load(weights))


def test_a_published_name_is_the_file_in_torch_home(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    cached = tmp_path / "hub" / "checkpoints" / "resnet18-f37072fd.pth"
    shutil.copy(weights, cached)
    assert_backbone(build_pretrained("DEFAULT"), torch.load(weights))
    cached.write_bytes(cached.read_bytes()[:100_000])
    assert f"{cached} cannot be read as weights" in read_error(lambda: build_pretrained("IMAGENET1K_V1"))


def test_without_a_network_a_published_name_says_where_to_put_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def offline(*_: Any, **__: Any) -> None:
        raise OSError("no route to host")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    message = read_error(lambda: build_pretrained("DEFAULT"))
    assert "cannot be downloaded: no route to host" in message
    assert f"save it as {tmp_path}/hub/checkpoints/resnet18-f37072fd.pth" in message


def test_a_folder_with_other_files_names_what_it_holds(weights: Path, tmp_path: Path) -> None:
    assert "does not contain resnet50-11ad3fa6.pth" in read_error(lambda: build_pretrained(tmp_path, "resnet50"))
    shutil.copy(weights, tmp_path / "resnet50-0676ba61.pth")
    assert f"It contains {tmp_path}/resnet50-0676ba61.pth; pass that" in read_error(
        lambda: build_pretrained(tmp_path, "resnet50")
    )


def test_a_file_with_a_published_name_is_preprocessed_as_that_was(tmp_path: Path) -> None:
    older = Pretrained(3, 5, "resnet50", str(tmp_path / "resnet50-0676ba61.pth"), load_weights=False)
    assert older.preprocess.resize == Resize(224, 224, (256, 256))
    assert Pretrained(3, 5, "resnet50", "x.pth", load_weights=False).preprocess.resize == Resize(224, 224, (232, 232))


@pytest.mark.parametrize("source", ["", "best.ckpt"])
def test_another_run_gives_its_backbone_under_a_new_head(source: str, resnet_run: RunFolder) -> None:
    theirs = torch.load(resnet_run.best, weights_only=True)["state_dict"]
    network = build_pretrained(resnet_run.path / source)
    own = network.state_dict()
    for name, value in theirs.items():
        if name.startswith("network.backbone."):
            assert torch.equal(own[name.removeprefix("network.")], value)
    assert network.head[-1].weight.shape == (5, 512)


def test_a_run_of_another_network_is_refused_by_name(resnet_run: RunFolder, finished: RunFolder) -> None:
    message = read_error(lambda: build_pretrained(resnet_run.path, "resnet50"))
    assert "is a run of resnet18; expected a run of resnet50" in message
    assert "is a run of SimpleCNN; expected a run of resnet18" in read_error(lambda: build_pretrained(finished.path))
    assert "is a run of SimpleCNN; expected a run of MLP" in read_error(lambda: MLP(3, 3, weights=str(finished.path)))


def test_for_latest_and_for_a_folder_above_runs_the_runs_are_named(
    finished: RunFolder, resnet_run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for number in range(2):
        shutil.copytree(resnet_run.path, tmp_path / "outputs" / "sweep" / str(number))
    os.utime("outputs/sweep/0/run.json", (2e9, 2e9))
    for make in (lambda path: build_pretrained(path), lambda path: MLP(3, 3, weights=path)):
        message = read_error(lambda make=make: make("outputs/sweep"))
        assert message.endswith("is not a run folder Pass one of the runs in it: outputs/sweep/0, outputs/sweep/1.")
    assert read_error(lambda: MLP(3, 3, weights="latest")).endswith(
        "Pass a run folder, for example outputs/sweep/0 (the latest)."
    )


def test_a_run_without_weights_and_a_damaged_one_are_refused(resnet_run: RunFolder, tmp_path: Path) -> None:
    run = RunFolder.open(shutil.copytree(resnet_run.path, tmp_path / "run"))
    whole = run.best.read_bytes()
    run.best.write_bytes(whole[:-1000])
    assert "cannot be read: it is cut off" in read_error(lambda: build_pretrained(run.path), str(run.best))
    damaged = bytearray(whole)
    damaged[len(whole) // 2] ^= 1
    run.best.write_bytes(damaged)
    read_error(lambda: build_pretrained(run.path), str(run.best))
    run.best.unlink()
    assert f"has no best.ckpt Pass {run.last}" in read_error(lambda: build_pretrained(run.path))
    assert build_pretrained(run.last)
    run.last.unlink()
    assert "is a run without weights (status: finished)" in read_error(lambda: build_pretrained(run.path))


def test_weights_that_do_not_fit_are_refused_with_the_keys_that_differ(resnet18: nn.Module, tmp_path: Path) -> None:
    path, state = tmp_path / "w.pth", to_published_keys(resnet18)
    torch.save(torchvision.models.squeezenet1_1(weights=None).state_dict(), path)
    message = read_error(lambda: build_pretrained(path))
    assert "100 missing (conv1.weight, bn1.weight" in message  # 20 convolutions, 20 batch norms of 4
    assert "52 unexpected (features.0.weight, features.0.bias" in message
    torch.save(state | {"conv1.weight": torch.zeros(8, 3, 7, 7)}, path)
    assert "1 of a different shape (conv1.weight: 8x3x7x7, expected 64x3x7x7)" in read_error(
        lambda: build_pretrained(path)
    )
    torch.save(state | {"conv1.weight": torch.full((64, 3, 7, 7), torch.nan)}, path)
    assert "contains NaN or infinite values in conv1.weight" in read_error(lambda: build_pretrained(path))
    torch.save({name: value for name, value in state.items() if not name.startswith("layer4.1.")}, path)
    assert "10 missing (layer4.1.conv1.weight" in read_error(lambda: build_pretrained(path))


def test_a_file_for_other_classes_fits_since_its_head_is_left_out(resnet18: nn.Module, tmp_path: Path) -> None:
    state = to_published_keys(resnet18) | {"fc.weight": torch.zeros(10, 512), "fc.bias": torch.zeros(10)}
    torch.save(state, tmp_path / "w.pth")
    assert_backbone(build_pretrained(tmp_path / "w.pth"), state)


def test_a_file_of_a_network_in_parallel_or_of_a_script_that_wraps_it_is_taken(
    resnet18: nn.Module, tmp_path: Path
) -> None:
    state, path = resnet18.state_dict(), tmp_path / "w.pth"
    for saved in (
        nn.DataParallel(resnet18).state_dict(),
        {"model": state, "epoch": 3},
        {"state_dict": nn.DataParallel(resnet18).state_dict(), "optimizer": {}},
    ):
        torch.save(saved, path)
        assert_backbone(build_pretrained(path), state)


def test_a_file_that_is_cut_off_damaged_or_no_file_of_weights_is_refused(weights: Path, tmp_path: Path) -> None:
    whole, path = weights.read_bytes(), tmp_path / "w.pth"
    path.write_bytes(whole[: len(whole) // 2])
    assert "it is cut off Download or copy it again." in read_error(lambda: build_pretrained(path))
    path.write_bytes(whole[: len(whole) // 2] + b"\x00\x01\x02" + whole[len(whole) // 2 + 3 :])
    assert "in it does not match" in read_error(lambda: build_pretrained(path))
    torch.save(torch.load(weights), path, _use_new_zipfile_serialization=False)  # as before torch 1.6
    path.write_bytes(path.read_bytes()[: len(whole) // 2])
    assert "it is cut off or damaged Download or copy it again." in read_error(lambda: build_pretrained(path))
    path.write_bytes(b"")
    assert "it is empty Download or copy it again." in read_error(lambda: build_pretrained(path))
    for text in ("no weights here", "width: 3\n"):
        path.write_text(text)
        assert "it is not a torch.save file Save the weights with torch.save" in read_error(
            lambda: build_pretrained(path)
        )
    torch.save(nn.Linear(2, 2), path)
    message = read_error(lambda: build_pretrained(path))
    assert "it contains a torch.nn.modules.linear.Linear; only tensors are read from a file" in message
    assert "Save the weights with torch.save(network.state_dict(), 'weights.pth')" in message
    torch.save([1, 2, 3], path)
    assert "contains a list; expected a state_dict" in read_error(lambda: build_pretrained(path))
    assert "is not a published name, a file or a folder" in read_error(
        lambda: build_pretrained(tmp_path / "nothing.pth")
    )
    assert "Did you mean IMAGENET1K_V1?" in read_error(lambda: build_pretrained("IMAGENET1K_V3"))


def test_a_run_folder_from_before_still_opens(weights: Path, tiny: list[str], tmp_path: Path) -> None:
    run = train_into(
        tmp_path / "run", *tiny, "model=resnet50", "model.weights=null", "model.image_size=32", "trainer.max_epochs=1"
    )
    cfg = OmegaConf.load(run.config)
    before = {"weights": "DEFAULT", "freeze": True, "dropout": 0.2, "image_size": 32}
    cfg.model = {"_target_": "viewfinder.models.resnet50.ResNet50", **before}
    OmegaConf.save(cfg, run.config)
    opened = open_run(run.path, (), "best")  # DEFAULT is not available
    assert opened.classifier.network.preprocess.resize == Resize(32, 32)
    pixels = torch.zeros(2, 3, 32, 32, dtype=torch.uint8)
    assert opened.logits(pixels).shape == (2, 3)
    assert_backbone(
        Pretrained(3, 5, "resnet50", str(run.path)), opened.classifier.network.get_submodule("backbone").state_dict()
    )


def test_an_earlier_class_of_one_network_keeps_its_defaults_as_a_pretrained_one() -> None:
    node = update_targets({"_target_": "viewfinder.models.resnet50.ResNet50", "weights": None, "dropout": 0.5})
    assert node.pop("_target_") == "viewfinder.models.pretrained.Pretrained"
    network, expected = Pretrained(3, 3, **node), Pretrained(3, 3, "resnet50", None, preprocess="resize")
    assert list(network.state_dict()) == list(expected.state_dict())
    assert network.preprocess.resize == expected.preprocess.resize == Resize(224, 224)
    assert network.head[0].p == 0.5
    assert network.is_backbone_frozen
