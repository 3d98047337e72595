"""Weights of timm's networks: files of several kinds, the cache of Hugging Face, and runs."""

import contextlib
import urllib.error
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Train
from torch import Tensor, nn
from weight_files import read_error

from viewfinder.experiment.load import open_run
from viewfinder.models.pretrained import Pretrained
from viewfinder.models.timm_network import TimmNetwork

timm = pytest.importorskip("timm")
safetensors = pytest.importorskip("safetensors.torch")
hub = pytest.importorskip("huggingface_hub")

NAME = "resnet10t.c3_in1k"


def build(weights: Path | str, channels: int = 3, name: str = NAME, **options: Any) -> TimmNetwork:
    return TimmNetwork(channels, 5, name, str(weights), image_size=32, **options)


@pytest.fixture(scope="module")
def theirs() -> nn.Module:
    """A network of timm with 1,000 classes and random weights."""
    torch.manual_seed(3)
    return timm.create_model(NAME)


@pytest.fixture(scope="module")
def file(theirs: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "model.safetensors"
    safetensors.save_file(theirs.state_dict(), path)
    return path


def assert_backbone(network: TimmNetwork, theirs: nn.Module) -> None:
    own, expected = network.backbone.state_dict(), theirs.state_dict()
    assert own.keys() == {key for key in expected if not key.startswith("fc.")}
    assert all(torch.equal(own[key], expected[key]) for key in own)


def test_weights_come_from_safetensors_torch_files_folders_and_checkpoints(
    theirs: nn.Module, file: Path, tmp_path: Path
) -> None:
    state = theirs.state_dict()
    torch.save(state, tmp_path / "plain.pth")
    torch.save({"state_dict": {f"module.{key}": value for key, value in state.items()}}, tmp_path / "wrapped.pth")
    headless = {key: value for key, value in state.items() if not key.startswith("fc.")}
    torch.save(headless, tmp_path / "headless.pth")
    other = {**headless, "fc.weight": torch.zeros(7, 512), "fc.bias": torch.zeros(7)}
    torch.save(other, tmp_path / "seven_classes.pth")
    names = ("plain", "wrapped", "headless", "seven_classes")
    for path in (file, file.parent, *(tmp_path / f"{name}.pth" for name in names)):
        assert_backbone(build(path), theirs)


def test_position_embeddings_are_resized_and_the_first_layer_is_summed_for_grey_images(
    theirs: nn.Module, file: Path, tmp_path: Path
) -> None:
    first = next(iter(theirs.state_dict().values()))
    grey = next(iter(build(file, channels=1).backbone.state_dict().values()))
    torch.testing.assert_close(grey, first.sum(1, keepdim=True))
    whole = timm.create_model("vit_tiny_patch16_224", depth=1)
    torch.save(whole.state_dict(), tmp_path / "vit.pth")
    small = build(tmp_path / "vit.pth", name="vit_tiny_patch16_224", arguments={"depth": 1}).backbone
    assert small.get_parameter("pos_embed").shape == (1, 1 + 2 * 2, 192)
    expected = timm.layers.resample_abs_pos_embed(whole.get_parameter("pos_embed"), new_size=[2, 2])
    torch.testing.assert_close(small.get_parameter("pos_embed"), expected)
    assert torch.equal(small.get_parameter("blocks.0.attn.qkv.weight"), whole.get_parameter("blocks.0.attn.qkv.weight"))


def test_weights_of_another_network_or_a_damaged_file_are_refused(
    theirs: nn.Module, file: Path, tmp_path: Path
) -> None:
    assert "does not match resnet18: Error(s) in loading" in read_error(lambda: build(file, name="resnet18"))
    state: dict[str, Tensor] = {**theirs.state_dict()}
    key = next(key for key in state if key.startswith("layer4"))
    torch.save({name: value for name, value in state.items() if name != key}, tmp_path / "part.pth")
    assert f'Missing key(s) in state_dict: "{key}"' in read_error(lambda: build(tmp_path / "part.pth"))
    torch.save({**state, key: state[key] * float("nan")}, tmp_path / "nan.pth")
    assert f"NaN or infinite values in {key}" in read_error(lambda: build(tmp_path / "nan.pth"))
    damaged = tmp_path / "cut.safetensors"
    damaged.write_bytes(file.read_bytes()[:1000])
    assert "Download or copy it again" in read_error(lambda: build(damaged))
    assert "is not a file or a folder" in read_error(lambda: build(tmp_path / "nothing.pth"))


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of Hugging Face, and a network in which nobody answers."""

    def refuse(*_: Any, **__: Any) -> None:
        raise urllib.error.URLError(ConnectionRefusedError("nobody answers"))

    monkeypatch.setattr(hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr("viewfinder.models.timm_weights.urlopen", refuse)
    return tmp_path / "cache"


def test_published_weights_in_the_cache_need_no_network(theirs: nn.Module, file: Path, cache: Path) -> None:
    snapshot = cache / "models--timm--resnet10t.c3_in1k" / "snapshots" / "1234"
    snapshot.mkdir(parents=True)
    (snapshot / "model.safetensors").symlink_to(file)
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text("1234")
    assert_backbone(build("DEFAULT"), theirs)
    assert_backbone(build("DEFAULT", name="resnet10t"), theirs)


def test_published_weights_may_have_a_file_of_another_name_and_a_revision(
    theirs: nn.Module, file: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, str, str | None]] = []

    def fetch(repo_id: str, filename: str, revision: str | None) -> str:
        asked.append((repo_id, filename, revision))
        if filename.endswith(".safetensors"):
            raise hub.errors.EntryNotFoundError("none")
        torch.save(theirs.state_dict(), cache.parent / "other.bin")
        return str(cache.parent / "other.bin")

    published = timm.get_pretrained_cfg(NAME)
    published.architecture = "resnet10t"
    published.hf_hub_id, published.hf_hub_filename = "owner/name@v2", "folder/weights.bin"
    monkeypatch.setattr("viewfinder.models.timm_network.find_published", lambda _: published)
    monkeypatch.setattr("viewfinder.models.timm_weights.urlopen", lambda *_, **__: contextlib.nullcontext())
    monkeypatch.setattr(hub, "hf_hub_download", fetch)
    assert_backbone(build("DEFAULT"), theirs)
    names = ("folder/weights.safetensors", "folder/weights.bin")
    assert asked == [("owner/name", name, "v2") for name in names]


def test_without_a_network_the_file_to_download_is_named_at_once(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "hf_hub_download", lambda **_: pytest.fail("tried to download"))
    message = read_error(lambda: build("DEFAULT"))
    assert "cannot be downloaded" in message
    assert "nobody answers" in message
    assert "/timm/resnet10t.c3_in1k/resolve/main/model.safetensors" in message
    assert "model.weights=null" in message
    assert not cache.exists()
    monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE is set" in read_error(lambda: build("DEFAULT"))


def test_a_tag_in_place_of_weights_and_a_network_without_weights_are_refused_with_what_to_type(cache: Path) -> None:
    assert "Set model.name=resnet10t.c3_in1k model.weights=DEFAULT." in read_error(
        lambda: build("c3_in1k", name="resnet10t")
    )
    assert "timm publishes no weights of convnext_atto_rms" in read_error(
        lambda: build("DEFAULT", name="convnext_atto_rms")
    )


def test_a_run_gives_its_backbone_to_the_same_network_whatever_the_tag(train: Train, tmp_path: Path) -> None:
    words = ["model=timm", "model.name=resnet10t", "model.weights=null", "model.image_size=32", "model.freeze=false"]
    run = train(tmp_path / "run", *words, "trainer.max_epochs=1", "trainer.limit_batches=1")
    trained = open_run(run.path, (), "best").classifier.network.get_submodule("backbone").state_dict()
    for source in (run.path, run.best):
        ours = build(source).backbone.state_dict()
        assert ours.keys() == trained.keys()
        assert all(torch.equal(ours[key], trained[key]) for key in ours)
    message = read_error(lambda: build(run.path, name="resnet18"))
    assert "is a run of timm/resnet10t; expected a run of timm/resnet18" in message
    message = read_error(lambda: Pretrained(3, 5, "resnet18", str(run.path), image_size=32))
    assert "expected a run of resnet18" in message
