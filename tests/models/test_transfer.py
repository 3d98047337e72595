"""Pre-trained networks of every family: their head, frozen rest, preprocessing, and where their weights come from."""

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from conftest import QUICK, Answer, Train, train_into
from omegaconf import OmegaConf
from PIL import Image
from sklearn.datasets import load_sample_image
from torch import Tensor, nn

from viewfinder.config.overrides import find_conf
from viewfinder.data.preprocess import Preprocess
from viewfinder.data.resize import Resize
from viewfinder.data.sources.image_folder import ImageFolder
from viewfinder.errors import UserError
from viewfinder.experiment.load import open_run
from viewfinder.models.custom_cnn import CustomCNN
from viewfinder.models.mlp import MLP
from viewfinder.models.pretrained import Pretrained
from viewfinder.models.resnet50 import ResNet50
from viewfinder.models.simple_cnn import SimpleCNN
from viewfinder.models.transfer import Transferable, is_within
from viewfinder.runs.folder import RunFolder
from viewfinder.training.features.cache import has_frozen_backbone
from viewfinder.training.phases import Phases

FAMILIES = {
    "alexnet": (64, "classifier.6"), "vgg11": (32, "classifier.6"), "resnet18": (32, "fc"), "inception_v3": (75, "fc"),
    "mobilenet_v3_small": (32, "classifier.3"), "densenet121": (32, "classifier"), "googlenet": (32, "fc"),
    "efficientnet_b0": (32, "classifier.1"), "vit_b_16": (32, "heads.head"), "convnext_tiny": (32, "classifier.2"),
    "swin_t": (32, "head"),
}  # fmt: skip
"""A small variant of each family, a side in pixels that it takes, and where torchvision's own head is."""
SHIPPED = [path.stem for path in find_conf().glob("model/*.yaml") if "Pretrained" in OmegaConf.load(path)["_target_"]]


@pytest.fixture(scope="module", autouse=True)
def quick_start() -> Any:
    """Random numbers that weights replace anyway are drawn the quick way.

    What alexnet and vgg have 4,096 units of are 64: a file of theirs would be of half a gigabyte.
    """
    begin, units = nn.Linear.__init__, {4096: 64}

    def narrower(layer: nn.Linear, in_features: int, out_features: int, *args: Any, **options: Any) -> None:
        begin(layer, units.get(in_features, in_features), units.get(out_features, out_features), *args, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nn.init, "trunc_normal_", lambda tensor, *_, **__: nn.init.normal_(tensor, std=0.02))
        patch.setattr(nn.Linear, "__init__", narrower)
        yield


def torchvisions(variant: str, side: int) -> nn.Module:
    """torchvision's own network with random weights and batch-norm statistics, to be evaluated."""
    torch.manual_seed(1)
    options: dict[str, Any] = {"image_size": side} if variant.startswith("vit") else {}
    if variant in ("inception_v3", "googlenet"):
        options = {"init_weights": False, "transform_input": True}  # as torchvision does with published weights
    network = torchvision.models.get_model(variant, weights=None, **options)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            nn.init.uniform_(module.running_mean, -0.1, 0.1)
            nn.init.uniform_(module.running_var, 0.8, 1.2)
    return network.eval()


def as_published(network: nn.Module) -> dict[str, Tensor]:
    """Its state_dict under the names that files from before some changes of torch and torchvision hold."""
    found = {}
    for name, value in network.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            name = re.sub(r"(denselayer\d+\.(?:norm|conv))([12])\.", r"\1.\2.", name)
            found[
                re.sub(r"(encoder_layer_\d+\.mlp)\.([03])\.", lambda m: f"{m[1]}.linear_{1 + int(m[2]) // 3}.", name)
            ] = value
    return found


def published_file(network: nn.Module, path: Path) -> Path:
    torch.save(as_published(network), path)
    return path


def train_steps(network: nn.Module, pictures: Tensor, steps: int = 2) -> None:
    network.train()
    optimizer = torch.optim.Adam([p for p in network.parameters() if p.requires_grad], lr=1e-2, weight_decay=0.1)
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(pictures), torch.arange(len(pictures))).backward()
        optimizer.step()


def moved_by(network: nn.Module, pictures: Tensor, steps: int = 2) -> list[str]:
    before = {name: value.clone() for name, value in network.state_dict().items()}
    train_steps(network, pictures, steps)
    after = network.state_dict()
    assert list(after) == list(before)
    return [name for name in before if not torch.equal(before[name], after[name])]


# Every family


@pytest.mark.parametrize("variant", FAMILIES)
def test_each_family_keeps_torchvisions_features_under_a_head_that_alone_is_trained(
    variant: str, tmp_path: Path
) -> None:
    side, head = FAMILIES[variant]
    theirs = torchvisions(variant, side)
    network = Pretrained(3, 4, variant, str(published_file(theirs, tmp_path / "w.pth")), image_size=side)
    network.train()  # frozen: no difference to the features
    pictures, taken = torch.rand(4, 3, side, side), []
    theirs.get_submodule(head).register_forward_pre_hook(lambda _, given: taken.append(given[0]))
    with torch.no_grad():
        theirs(pictures)
        features = network.backbone(pictures)
        torch.testing.assert_close(features, taken[0])
        assert features.std() > 0
        assert network(pictures).shape == (4, 4)
        network.eval()
        linear = network.head[-1]
        torch.testing.assert_close(network(pictures), features @ linear.weight.T + linear.bias)
    assert moved_by(network, pictures) == ["head.1.weight", "head.1.bias"]
    assert network.backbone.get_submodule(head).__class__ is nn.Identity
    phases = Phases({"last": {"train": 1}}, network, 1, 1e-2)
    phases.enter(0)
    wanted = [name for name in network.state_dict() if is_within(name, ["head", *phases.blocks[-1]])]
    constant = "relative_position_index"  # a buffer of swin_t
    assert moved_by(network, pictures) == [name for name in wanted if not name.endswith(constant)]


@pytest.mark.parametrize("variant", [*SHIPPED, "mnasnet0_5", "shufflenet_v2_x0_5", "maxvit_t", "efficientnet_v2_s"])
def test_a_head_gives_a_logit_a_class_at_the_published_size(variant: str) -> None:
    with torch.device("meta"):
        network = Pretrained(3, 7, variant, None, freeze=False)
        side = torchvision.models.get_model_weights(variant)["DEFAULT"].transforms().crop_size[0]
        assert network.preprocess.image_size == side
        network.train()  # where inception_v3 of torchvision gives a pair
        assert network(torch.zeros(2, 3, side, side)).shape == (2, 7)


def test_each_yaml_is_of_the_family_that_it_is_called_after() -> None:
    assert len(SHIPPED) == 10
    for name in SHIPPED:
        cfg = OmegaConf.load(find_conf() / "model" / f"{name}.yaml")
        assert (cfg.variant, cfg.weights, cfg.freeze) == (name, "DEFAULT", True)
        assert cfg.preprocess == ("resize" if name == "resnet50" else "weights")


def test_unfrozen_means_that_weights_and_statistics_move() -> None:
    network = Pretrained(3, 4, "resnet18", None, freeze=False, image_size=32)
    assert moved_by(network, torch.rand(4, 3, 32, 32), 1) == list(network.state_dict())


def test_resnet50_has_the_published_number_of_parameters() -> None:
    network = Pretrained(3, 10, "resnet50", None, image_size=64)
    assert sum(p.numel() for p in network.parameters() if p.requires_grad) == 2048 * 10 + 10
    # torchvision documents 25,557,032 parameters with its own head of 2048 x 1000 + 1000.
    assert sum(p.numel() for p in network.parameters()) == 25_557_032 - (2048 * 1000 + 1000) + 2048 * 10 + 10


def test_a_head_of_several_layers_is_linear_relu_and_dropout_in_turn() -> None:
    torch.manual_seed(0)
    network = Pretrained(3, 5, "resnet18", None, hidden=[16, 8], dropout=0.3, image_size=32)
    layers = [nn.Dropout, nn.Linear, nn.ReLU, nn.Dropout, nn.Linear, nn.ReLU, nn.Dropout, nn.Linear]
    assert [type(layer) for layer in network.head] == layers
    assert {layer.p for layer in network.head if isinstance(layer, nn.Dropout)} == {0.3}
    features = torch.rand(6, 512)
    expected = features.numpy().astype(float)
    linear = [layer for layer in network.head if isinstance(layer, nn.Linear)]
    for number, layer in enumerate(linear):
        expected = expected @ layer.weight.detach().numpy().T + layer.bias.detach().numpy()
        expected = np.maximum(expected, 0) if number < 2 else expected
    np.testing.assert_allclose(network.eval().head(features).detach(), expected, atol=1e-5)


def test_dropout_before_torchvisions_own_head_goes_with_it() -> None:
    network = Pretrained(3, 5, "efficientnet_b0", None, freeze=False, image_size=32)
    assert [m.p for m in network.backbone.modules() if isinstance(m, nn.Dropout)] == [0.0]
    inner = Pretrained(3, 5, "alexnet", None, freeze=False, image_size=64).backbone
    assert [m.p for m in inner.modules() if isinstance(m, nn.Dropout)] == [0.5, 0.5]


# Preprocessing


def photo(name: str, portrait: bool = False) -> Image.Image:
    """A real photograph of 640 x 427 pixels, or that cut to 300 x 427."""
    picture = Image.fromarray(load_sample_image(name))
    return picture.crop((100, 0, 400, 427)) if portrait else picture


def levels_between(preprocess: Preprocess, found: Tensor, expected: Tensor) -> float:
    """The largest difference, in levels of 0..255."""
    return ((found - expected).abs() / preprocess.scale).max().item()


def as_pixels(picture: Image.Image) -> Tensor:
    """(1, 3, H, W) uint8"""
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None]


PUBLISHED = {
    "resnet50": "DEFAULT", "resnet101": "IMAGENET1K_V1", "efficientnet_b0": "DEFAULT", "inception_v3": "DEFAULT",
    "vit_b_16": "IMAGENET1K_SWAG_E2E_V1",
}  # fmt: skip
"""Crops of 224, 299 and 384 pixels, bilinear and bicubic."""


@pytest.fixture(scope="module", params=PUBLISHED)
def wanted(request: pytest.FixtureRequest) -> tuple[Preprocess, Any]:
    """What a network wants, and the transforms published with its weights."""
    variant, weights = request.param, PUBLISHED[request.param]
    network = Pretrained(3, 5, variant, weights, preprocess="weights", load_weights=False)
    return network.preprocess, torchvision.models.get_model_weights(variant)[weights].transforms()


@pytest.mark.parametrize("portrait", [False, True])
def test_preprocessing_is_that_of_the_weights_on_a_real_picture(
    wanted: tuple[Preprocess, Any], portrait: bool, tmp_path: Path
) -> None:
    preprocess, transforms = wanted
    picture = photo("china.jpg", portrait)
    expected = transforms(picture)[None]
    # On the device, as it comes.
    preprocess.is_fitted = False
    assert levels_between(preprocess, preprocess(as_pixels(picture)), expected) < 1.01
    # From files of many sizes.
    data = ImageFolder(root=str(folder_of_photos(tmp_path, [picture, photo("flower.jpg", not portrait)])))
    data.open()
    data.load(preprocess)
    found = preprocess(data.pictures["train"].pixels)
    side = transforms.crop_size[0]
    assert data.pictures["train"].shape == (3, side, side)
    for number, each in enumerate([picture, photo("flower.jpg", not portrait)]):
        assert levels_between(preprocess, found[2 * number : 2 * number + 1], transforms(each)[None]) < 1e-3


def folder_of_photos(root: Path, pictures: list[Image.Image]) -> Path:
    """root/train|val|test/<n>/0.png and 1.png, a class for each picture."""
    for split in ("train", "val", "test"):
        for number, picture in enumerate(pictures):
            for copied in range(2):
                path = root / split / f"class {number}" / f"{copied}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                picture.save(path)
    return root


@pytest.mark.parametrize("size", [(40, 60), (224, 100), (224, 224), (224, 300)])
@pytest.mark.parametrize("storage", ["memory", "disk", "stream"])
def test_pictures_of_one_size_are_cropped_once_and_as_published(
    size: tuple[int, int], storage: str, tmp_path: Path
) -> None:
    """Small ones are kept as they are and cropped on the device; those that happen to have the network's size too."""
    network = Pretrained(3, 2, "resnet18", None)
    transforms = torchvision.models.ResNet18_Weights.DEFAULT.transforms()
    photos = [photo(name).resize(size[::-1]) for name in ("china.jpg", "flower.jpg")]
    data = ImageFolder(root=str(folder_of_photos(tmp_path, photos)), storage=storage, workers=1)  # type: ignore[arg-type]
    data.open()
    data.load(network.preprocess)
    is_kept = max(size) <= 224 and size != (224, 224)
    assert data.pictures["test"].shape == (3, *(size if is_kept else (224, 224)))
    assert ("cropped" in data.facts()) is not is_kept
    found = network.preprocess(data.pictures["test"].pixels)
    for number, each in enumerate(photos):
        assert levels_between(network.preprocess, found[2 * number], transforms(each)) < (1.01 if is_kept else 1e-3)


def test_resizing_and_cropping_equals_torchvisions_in_a_file_and_on_the_device() -> None:
    rng = np.random.default_rng(0)
    for _ in range(60):
        height, width, side = (int(n) for n in rng.integers([150, 150, 8], [300, 300, 64]))
        frame = side + int(rng.integers(0, 30))
        kind = ("bilinear", "bicubic")[int(rng.integers(2))]
        picture = Image.fromarray(rng.integers(0, 256, (height, width, 3)).astype(np.uint8))
        mode = torchvision.transforms.InterpolationMode(kind)
        theirs = torchvision.transforms.functional.resize(picture, [frame], mode)
        expected = np.asarray(torchvision.transforms.functional.center_crop(theirs, [side]), dtype=int)
        resize = Resize(side, side, (frame, frame), kind)
        assert np.array_equal(resize.of_picture(picture), expected)
        levels = resize.of_levels(as_pixels(picture).float())[0].permute(1, 2, 0).numpy()
        assert np.abs(levels - expected).max() <= 1


def test_a_panorama_is_cropped_without_being_resized_whole() -> None:
    panorama = Image.fromarray(np.random.default_rng(0).integers(0, 256, (2, 60_000, 3)).astype(np.uint8))
    found = Resize(224, 224, (256, 256)).of_picture(panorama)  # whole, it would be 6 GB
    assert found.size == (224, 224)


def test_another_image_size_keeps_the_proportion_of_resize_to_crop() -> None:
    network = Pretrained(3, 5, "resnet18", None, image_size=112)
    assert network.preprocess.resize == Resize(112, 112, (128, 128))
    plain = Pretrained(3, 5, "resnet18", None, preprocess="resize", image_size=112)
    assert plain.preprocess.resize == Resize(112, 112)
    assert Pretrained(3, 5, "resnet50", None, preprocess="resize").preprocess.resize == Resize(224, 224)


def test_a_run_predicts_and_evaluates_photographs_as_its_weights_want(
    tmp_path: Path, viewfinder: Callable[..., Answer]
) -> None:
    root = folder_of_photos(tmp_path / "in", [photo("china.jpg"), photo("flower.jpg", portrait=True)])
    typed = ["model=resnet50", "model.variant=resnet18", "model.preprocess=weights", "model.weights=null"]
    run = train_into(tmp_path / "run", *typed, "data=image_folder", f"data.root={root}", *QUICK, "trainer.max_epochs=1")
    assert "  frozen with random weights: model.weights=null\n" in run.log.read_text()
    opened = open_run(run.path, (), "best")
    transforms = torchvision.models.ResNet18_Weights.DEFAULT.transforms()
    batch = torch.stack([transforms(photo("china.jpg")), transforms(photo("flower.jpg", portrait=True))])
    with torch.no_grad():
        expected = opened.classifier.network.eval()(batch).softmax(1)
    table = np.genfromtxt(run.predictions, delimiter=",", skip_header=1, usecols=(3, 4))
    np.testing.assert_allclose(table, expected.repeat_interleave(2, 0), atol=2e-4)
    files = [root / "test" / "class 0" / "0.png", root / "test" / "class 1" / "0.png"]
    assert viewfinder("predict", run.path, *files, "--csv", tmp_path / "p.csv").code == 0
    table = np.genfromtxt(tmp_path / "p.csv", delimiter=",", skip_header=1, usecols=(2, 3))
    np.testing.assert_allclose(table, expected, atol=2e-4)
    assert "Equal to scores.json" in viewfinder("evaluate", run.path).out


# Where weights come from


@pytest.fixture(scope="module")
def resnet18() -> nn.Module:
    return torchvisions("resnet18", 32)


@pytest.fixture(scope="module")
def weights(resnet18: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return published_file(resnet18, tmp_path_factory.mktemp("weights") / "resnet18.pth")


@pytest.fixture(scope="module")
def resnet_run(weights: Path, tiny: list[str], tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run of resnet18, unfrozen."""
    typed = ["model=resnet50", "model.variant=resnet18", f"model.weights={weights}", "model.freeze=false"]
    run = tmp_path_factory.mktemp("runs") / "resnet18"
    return train_into(run, *tiny, *typed, "model.image_size=32", "trainer.max_epochs=1", "model.hidden=[8]")


def build(weights: Path | str, variant: str = "resnet18", **options: Any) -> Pretrained:
    return Pretrained(3, 5, variant, str(weights), image_size=32, **options)


def refused(make: Callable[[], Any], key: str = "model.weights") -> str:
    with pytest.raises(UserError) as caught:
        make()
    (problem,) = caught.value.problems
    assert problem.key == key
    assert problem.remedy
    return " ".join(str(caught.value).split())


def assert_backbone(network: Pretrained, state: dict[str, Tensor]) -> None:
    own = network.backbone.state_dict()
    expected = {name: value for name, value in state.items() if not name.startswith("fc.")}
    assert all(torch.equal(own[name], value) for name, value in expected.items())
    assert {name for name in own if not name.endswith("num_batches_tracked")} <= expected.keys()


@pytest.mark.parametrize("place", ["", "checkpoints", "hub/checkpoints"])
def test_weights_are_found_in_a_folder_of_downloads(place: str, weights: Path, tmp_path: Path) -> None:
    folder = tmp_path / place
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(weights, folder / "resnet18-f37072fd.pth")
    assert_backbone(build(tmp_path), torch.load(weights))


def test_a_published_name_is_the_file_in_torch_home(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    cached = tmp_path / "hub" / "checkpoints" / "resnet18-f37072fd.pth"
    shutil.copy(weights, cached)
    assert_backbone(build("DEFAULT"), torch.load(weights))
    cached.write_bytes(cached.read_bytes()[:100_000])
    assert f"{cached} cannot be read as weights" in refused(lambda: build("IMAGENET1K_V1"))


def test_without_a_network_a_published_name_says_where_to_put_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def offline(*_: Any, **__: Any) -> None:
        raise OSError("no route to host")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    said = refused(lambda: build("DEFAULT"))
    assert "cannot be downloaded: no route to host" in said
    assert f"put it at {tmp_path}/hub/checkpoints/resnet18-f37072fd.pth" in said


def test_a_folder_with_other_files_names_what_it_holds(weights: Path, tmp_path: Path) -> None:
    assert "holds no resnet50-11ad3fa6.pth" in refused(lambda: build(tmp_path, "resnet50"))
    shutil.copy(weights, tmp_path / "resnet50-0676ba61.pth")
    assert f"It holds {tmp_path}/resnet50-0676ba61.pth: give that" in refused(lambda: build(tmp_path, "resnet50"))


def test_a_file_with_a_published_name_is_preprocessed_as_that_was(tmp_path: Path) -> None:
    older = Pretrained(3, 5, "resnet50", str(tmp_path / "resnet50-0676ba61.pth"), load_weights=False)
    assert older.preprocess.resize == Resize(224, 224, (256, 256))
    assert Pretrained(3, 5, "resnet50", "x.pth", load_weights=False).preprocess.resize == Resize(224, 224, (232, 232))


@pytest.mark.parametrize("source", ["", "best.ckpt"])
def test_another_run_gives_its_backbone_under_a_new_head(source: str, resnet_run: RunFolder) -> None:
    theirs = torch.load(resnet_run.best, weights_only=True)["state_dict"]
    network = build(resnet_run.path / source)
    own = network.state_dict()
    for name, value in theirs.items():
        if name.startswith("network.backbone."):
            assert torch.equal(own[name.removeprefix("network.")], value)
    assert network.head[-1].weight.shape == (5, 512)


def test_a_run_of_another_network_is_refused_by_name(resnet_run: RunFolder, finished: RunFolder) -> None:
    said = refused(lambda: build(resnet_run.path, "resnet50"))
    assert "is a run of resnet18, and this network is resnet50" in said
    assert "is a run of SimpleCNN, and this network is resnet18" in refused(lambda: build(finished.path))
    assert "is a run of SimpleCNN, and this network is MLP" in refused(lambda: MLP(3, 3, weights=str(finished.path)))


def test_for_latest_and_for_a_folder_above_runs_the_runs_are_named(
    finished: RunFolder, resnet_run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for number in range(2):
        shutil.copytree(resnet_run.path, tmp_path / "outputs" / "sweep" / str(number))
    os.utime("outputs/sweep/0/run.json", (2e9, 2e9))
    for make in (lambda path: build(path), lambda path: MLP(3, 3, weights=path)):
        said = refused(lambda make=make: make("outputs/sweep"))
        assert said.endswith("is no run Runs within are outputs/sweep/0, outputs/sweep/1: give one.")
    assert refused(lambda: MLP(3, 3, weights="latest")).endswith("of the last run it is outputs/sweep/0.")


def test_a_run_without_weights_and_a_damaged_one_are_refused(resnet_run: RunFolder, tmp_path: Path) -> None:
    run = RunFolder.open(shutil.copytree(resnet_run.path, tmp_path / "run"))
    whole = run.best.read_bytes()
    run.best.write_bytes(whole[:-1000])
    assert "cannot be read: it is cut off" in refused(lambda: build(run.path), str(run.best))
    damaged = bytearray(whole)
    damaged[len(whole) // 2] ^= 1
    run.best.write_bytes(damaged)
    refused(lambda: build(run.path), str(run.best))
    run.best.unlink()
    assert f"lacks its best.ckpt Give {run.last}" in refused(lambda: build(run.path))
    assert build(run.last)
    run.last.unlink()
    assert "is a run without weights; its status is 'finished'" in refused(lambda: build(run.path))


def test_weights_that_do_not_fit_are_refused_with_the_keys_that_differ(resnet18: nn.Module, tmp_path: Path) -> None:
    path, state = tmp_path / "w.pth", as_published(resnet18)
    torch.save(torchvision.models.squeezenet1_1(weights=None).state_dict(), path)
    said = refused(lambda: build(path))
    assert "100 missing (conv1.weight, bn1.weight" in said  # 20 convolutions, 20 batch norms of 4
    assert "52 unknown (features.0.weight, features.0.bias" in said
    torch.save(state | {"conv1.weight": torch.zeros(8, 3, 7, 7)}, path)
    assert "1 of another shape (conv1.weight: 8x3x7x7, here 64x3x7x7)" in refused(lambda: build(path))
    torch.save(state | {"conv1.weight": torch.full((64, 3, 7, 7), torch.nan)}, path)
    assert "holds values that are no numbers, in conv1.weight" in refused(lambda: build(path))
    torch.save({name: value for name, value in state.items() if not name.startswith("layer4.1.")}, path)
    assert "10 missing (layer4.1.conv1.weight" in refused(lambda: build(path))


def test_a_file_for_other_classes_fits_since_its_head_is_left_out(resnet18: nn.Module, tmp_path: Path) -> None:
    state = as_published(resnet18) | {"fc.weight": torch.zeros(10, 512), "fc.bias": torch.zeros(10)}
    torch.save(state, tmp_path / "w.pth")
    assert_backbone(build(tmp_path / "w.pth"), state)


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
        assert_backbone(build(path), state)


def test_a_file_that_is_cut_off_damaged_or_no_file_of_weights_is_refused(weights: Path, tmp_path: Path) -> None:
    whole, path = weights.read_bytes(), tmp_path / "w.pth"
    path.write_bytes(whole[: len(whole) // 2])
    assert "it is cut off Get it again." in refused(lambda: build(path))
    path.write_bytes(whole[: len(whole) // 2] + b"\x00\x01\x02" + whole[len(whole) // 2 + 3 :])
    assert "another checksum" in refused(lambda: build(path))
    torch.save(torch.load(weights), path, _use_new_zipfile_serialization=False)  # as before torch 1.6
    path.write_bytes(path.read_bytes()[: len(whole) // 2])
    assert "it is cut off or damaged Get it again." in refused(lambda: build(path))
    path.write_bytes(b"")
    assert "it is empty Get it again." in refused(lambda: build(path))
    for text in ("no weights here", "width: 3\n"):
        path.write_text(text)
        assert "it is no file that torch.save wrote Where the network was made" in refused(lambda: build(path))
    torch.save(nn.Linear(2, 2), path)
    said = refused(lambda: build(path))
    assert "it holds a torch.nn.modules.linear.Linear, and of a file only tensors are taken" in said
    assert "type torch.save(network.state_dict(), 'weights.pth')" in said
    torch.save([1, 2, 3], path)
    assert "holds a list, not a state_dict" in refused(lambda: build(path))
    assert "is neither a name of weights nor a file or a folder" in refused(lambda: build(tmp_path / "nothing.pth"))
    assert "Did you mean IMAGENET1K_V1?" in refused(lambda: build("IMAGENET1K_V3"))


def test_a_variant_that_torchvision_lacks_or_that_has_no_linear_head_is_refused() -> None:
    assert "Did you mean resnet18?" in refused(lambda: build("DEFAULT", "resnet81"), "model.variant")
    assert "no such classification network" in refused(lambda: build("x", "lraspp"), "model.variant")
    said = refused(lambda: Pretrained(3, 5, "squeezenet1_0", None), "model.variant")
    assert "does not end in a linear layer" in said


def test_grey_pictures_and_pictures_that_are_no_whole_patches_are_refused_with_what_to_type() -> None:
    assert "data.channels=3" in refused(lambda: Pretrained(1, 5, "resnet18", None), "model")
    said = refused(lambda: Pretrained(3, 5, "vit_b_16", None, image_size=40), "model.image_size")
    assert "Give a multiple of 16" in said


def test_a_vision_transformer_takes_weights_of_another_size(tmp_path: Path) -> None:
    theirs = torchvisions("vit_b_32", 96)
    path = published_file(theirs, tmp_path / "vit.pth")
    positions = Pretrained(3, 5, "vit_b_32", str(path), image_size=64).backbone.get_parameter("encoder.pos_embedding")
    old = theirs.get_parameter("encoder.pos_embedding")
    grid = old[:, 1:].unflatten(1, (3, 3))
    assert torch.equal(positions[:, 0], old[:, 0])
    new = positions[:, 1:].unflatten(1, (2, 2))
    for row, column in ((0, 0), (0, -1), (-1, 0), (-1, -1)):  # the corners stay
        torch.testing.assert_close(new[:, row, column], grid[:, row, column])


def test_a_run_folder_from_before_still_opens(weights: Path, tiny: list[str], tmp_path: Path) -> None:
    network = ResNet50(3, 3, None)
    general = Pretrained(3, 3, "resnet50", None, preprocess="resize")
    assert list(network.state_dict()) == list(general.state_dict())
    assert network.preprocess.resize == general.preprocess.resize == Resize(224, 224)
    run = train_into(
        tmp_path / "run", *tiny, "model=resnet50", "model.weights=null", "model.image_size=32", "trainer.max_epochs=1"
    )
    cfg = OmegaConf.load(run.config)
    before = {"weights": "DEFAULT", "freeze": True, "dropout": 0.2, "image_size": 32}
    cfg.model = {"_target_": "viewfinder.models.resnet50.ResNet50", **before}
    OmegaConf.save(cfg, run.config)
    opened = open_run(run.path, (), "best")  # without weights to be had
    pixels = torch.zeros(2, 3, 32, 32, dtype=torch.uint8)
    assert opened.logits(pixels).shape == (2, 3)
    assert_backbone(
        Pretrained(3, 5, "resnet50", str(run.path)), opened.classifier.network.get_submodule("backbone").state_dict()
    )


# The other networks

SMALL: dict[type[Transferable], dict[str, Any]] = {
    MLP: {"widths": [8], "image_size": 8},
    SimpleCNN: {"width": 4, "image_size": 8},
    CustomCNN: {"widths": [4, 8], "hidden": [16], "image_size": 8},
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
    assert moved_by(network, torch.rand(4, 3, 8, 8)) == head
    fresh.load_state_dict(network.state_dict())
    assert len(moved_by(fresh, torch.rand(4, 3, 8, 8), 1)) == len(fresh.state_dict())


class Convolutions(Transferable):
    """Without a linear layer, and so without a head that could be found."""

    def __init__(self, channels: int, classes: int, has_head: bool = False):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(channels, classes, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.preprocess = Preprocess(8)
        if has_head:
            self.transfer(None, True)

    def forward(self, pictures: Tensor) -> Tensor:
        return self.layers(pictures)


def test_a_network_without_a_linear_layer_has_no_head_to_transfer() -> None:
    with pytest.raises(UserError, match="Convolutions has no linear layer"):
        Convolutions(3, 4, has_head=True)


def test_a_network_that_names_no_head_is_not_taken_for_a_frozen_one_and_has_no_phases() -> None:
    assert not has_frozen_backbone(Convolutions(3, 4))
    with pytest.raises(UserError, match="Convolutions does not say what its head is"):
        Phases({"only": {"train": "head"}}, Convolutions(3, 4), 1, 1e-2)


@pytest.mark.parametrize("kind", [*SMALL, Pretrained])
def test_a_network_is_its_head_on_the_features_of_the_rest(kind: type[Any]) -> None:
    options = SMALL.get(kind) or {"variant": "resnet18", "weights": None, "image_size": 32}
    network = kind(3, 4, **options).eval()
    pictures = torch.rand(5, 3, options["image_size"], options["image_size"])
    with network.without_head():
        features = network(pictures)
    assert features.ndim == 2
    assert torch.equal(network.classify(features), network(pictures))


def test_a_run_starts_from_the_weights_of_another(train: Train, finished: RunFolder, tmp_path: Path) -> None:
    frozen = train(tmp_path / "frozen", f"model.weights={finished.path}", "model.freeze=true")
    assert frozen.read_run()["features"]["width"] == 10 * 4 * 4
    assert f"<dt>weights from</dt><dd>{finished.path}</dd>" in frozen.report.read_text(encoding="utf-8")
    assert "weights from" not in finished.report.read_text(encoding="utf-8")
    assert "random weights" not in frozen.log.read_text()
    before, after = (torch.load(run.best, weights_only=True)["state_dict"] for run in (finished, frozen))
    moved = [name for name in after if not torch.equal(before[name], after[name])]
    assert moved == ["network.head.1.weight", "network.head.1.bias"]
    moved_away = tmp_path / "gone"
    shutil.move(frozen.path, moved_away)
    open_run(moved_away, (), "best")


def test_widths_that_differ_are_named(train: Train, finished: RunFolder, tmp_path: Path) -> None:
    for weights in (finished.path, finished.best):
        said = refused(lambda weights=weights: train(tmp_path / "run", f"model.weights={weights}", "model.width=4"))
        assert "features.0.weight: 10x3x3x3, here 4x3x3x3" in said
        assert said.endswith("As that run was: model.width=10")
    (tmp_path / "others").mkdir()
    shutil.copy(finished.best, tmp_path / "others" / "mine.pth")
    (tmp_path / "others" / "config.yaml").write_text("what: of somebody else's")
    said = refused(
        lambda: train(tmp_path / "run", f"model.weights={tmp_path / 'others' / 'mine.pth'}", "model.width=4")
    )
    assert "features.0.weight: 10x3x3x3, here 4x3x3x3" in said
    said = refused(
        lambda: train(tmp_path / "run", f"model.weights={finished.path}", "model.image_size=16", "data.channels=1")
    )
    assert said.endswith("As that run was: data.channels=3 model.image_size=8")
    said = refused(lambda: SimpleCNN(1, 3, image_size=8, weights=str(finished.best)))
    assert "Give weights of the same network, with the same arguments" in said
