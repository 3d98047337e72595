"""Networks load the weights of another training, all but their head."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Train, raises_user_error
from torch import Tensor, nn
from weight_files import read_error, train_and_list_changed

from viewfinder.data.preprocess import Preprocess
from viewfinder.experiment.load import open_run
from viewfinder.models.conv_mixer import ConvMixer
from viewfinder.models.custom_cnn import CustomCNN
from viewfinder.models.mlp import MLP
from viewfinder.models.pretrained import Pretrained
from viewfinder.models.simple_cnn import SimpleCNN
from viewfinder.models.transfer import Transferable
from viewfinder.models.vision_transformer import VisionTransformer
from viewfinder.runs.folder import RunFolder
from viewfinder.training.features.cache import has_frozen_backbone
from viewfinder.training.phases import Phases

pytestmark = pytest.mark.usefixtures("quick_random_weights")

SMALL: dict[type[Transferable], dict[str, Any]] = {
    MLP: {"widths": [8], "image_size": 8},
    SimpleCNN: {"width": 4, "image_size": 8},
    CustomCNN: {"widths": [4, 8], "hidden": [16], "image_size": 8},
    VisionTransformer: {"width": 12, "depth": 1, "image_size": 8},
    ConvMixer: {"width": 4, "depth": 1, "image_size": 8},
}


@pytest.mark.parametrize("kind", SMALL)
def test_a_network_of_ours_begins_with_anothers_weights_except_the_last_layer(kind: type[Any], tmp_path: Path) -> None:
    torch.manual_seed(0)
    theirs = kind(3, 7, **SMALL[kind])
    torch.save(theirs.state_dict(), tmp_path / "w.pth")
    torch.manual_seed(1)
    fresh = kind(3, 4, **SMALL[kind])
    torch.manual_seed(1)
    network = kind(3, 4, weights=str(tmp_path / "w.pth"), freeze=True, **SMALL[kind])
    head = [f"{network.head_name}.weight", f"{network.head_name}.bias"]
    for name, value in network.state_dict().items():
        assert torch.equal(value, (fresh if name in head else theirs).state_dict()[name]), name
    assert train_and_list_changed(network, torch.rand(4, 3, 8, 8)) == head
    fresh.load_state_dict(network.state_dict())
    assert len(train_and_list_changed(fresh, torch.rand(4, 3, 8, 8), 1)) == len(fresh.state_dict())


class Convolutions(Transferable):
    """A network without a linear layer, and so without a head."""

    def __init__(self, channels: int, classes: int, has_head: bool = False):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(channels, classes, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.preprocess = Preprocess(8)
        if has_head:
            self.transfer(None, True)

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images)


def test_a_network_without_a_linear_layer_has_no_head_to_transfer() -> None:
    with raises_user_error(r"Convolutions has no torch\.nn\.Linear layer to use as its head"):
        Convolutions(3, 4, has_head=True)


def test_a_network_that_names_no_head_is_not_taken_for_a_frozen_one_and_has_no_phases() -> None:
    assert not has_frozen_backbone(Convolutions(3, 4))
    with raises_user_error(r"network that names its head; Convolutions does not"):
        Phases({"only": {"train": "head"}}, Convolutions(3, 4), 1, 1e-2)


@pytest.mark.parametrize("kind", [*SMALL, Pretrained])
def test_a_network_is_its_head_on_the_features_of_the_rest(kind: type[Any]) -> None:
    options = SMALL.get(kind) or {"variant": "resnet18", "weights": None, "image_size": 32}
    network = kind(3, 4, **options).eval()
    images = torch.rand(5, 3, options["image_size"], options["image_size"])
    with network.without_head():
        features = network(images)
    assert features.ndim == 2
    assert torch.equal(network.classify(features), network(images))


def test_a_run_starts_from_the_weights_of_another(train: Train, finished: RunFolder, tmp_path: Path) -> None:
    frozen = train(tmp_path / "frozen", f"model.weights={finished.path}", "model.freeze=true")
    assert frozen.read_run()["features"]["width"] == 10 * 4 * 4
    assert f"<dt>initial weights</dt><dd>{finished.path}</dd>" in frozen.report.read_text(encoding="utf-8")
    assert "initial weights" not in finished.report.read_text(encoding="utf-8")
    assert "random weights" not in frozen.log.read_text()
    before, after = (torch.load(run.best, weights_only=True)["state_dict"] for run in (finished, frozen))
    moved = [name for name in after if not torch.equal(before[name], after[name])]
    assert moved == ["network.head.1.weight", "network.head.1.bias"]
    moved_away = tmp_path / "gone"
    shutil.move(frozen.path, moved_away)
    open_run(moved_away, (), "best")


def test_widths_that_differ_are_named(train: Train, finished: RunFolder, tmp_path: Path) -> None:
    for weights in (finished.path, finished.best):
        message = read_error(
            lambda weights=weights: train(tmp_path / "run", f"model.weights={weights}", "model.width=4")
        )
        assert "features.0.weight: 10x3x3x3, expected 4x3x3x3" in message
        assert message.endswith("To match that run, add model.width=10")
    (tmp_path / "others").mkdir()
    shutil.copy(finished.best, tmp_path / "others" / "mine.pth")
    (tmp_path / "others" / "config.yaml").write_text("what: of somebody else's")
    message = read_error(
        lambda: train(tmp_path / "run", f"model.weights={tmp_path / 'others' / 'mine.pth'}", "model.width=4")
    )
    assert "features.0.weight: 10x3x3x3, expected 4x3x3x3" in message
    message = read_error(
        lambda: train(tmp_path / "run", f"model.weights={finished.path}", "model.image_size=16", "data.channels=1")
    )
    assert message.endswith("To match that run, add data.channels=3 model.image_size=8")
    message = read_error(lambda: SimpleCNN(1, 3, image_size=8, weights=str(finished.best)))
    assert "Pass weights of the same network, with the same arguments" in message
