"""Images are preprocessed as published with a network's weights."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from conftest import QUICK, Answer, train_into
from PIL import Image
from sklearn.datasets import load_sample_image
from torch import Tensor

from viewfinder.data.preprocess import Preprocess
from viewfinder.data.resize import Resize
from viewfinder.data.sources.image_folder import ImageFolder
from viewfinder.experiment.load import open_run
from viewfinder.models.pretrained import Pretrained

pytestmark = pytest.mark.usefixtures("quick_random_weights")


def photo(name: str, portrait: bool = False) -> Image.Image:
    """A real photograph of 640 x 427 pixels, or that cut to 300 x 427."""
    image = Image.fromarray(load_sample_image(name))
    return image.crop((100, 0, 400, 427)) if portrait else image


def max_level_difference(preprocess: Preprocess, found: Tensor, expected: Tensor) -> float:
    """The largest difference, in levels of 0..255."""
    return ((found - expected).abs() / preprocess.scale).max().item()


def as_pixels(image: Image.Image) -> Tensor:
    """(1, 3, H, W) uint8"""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)[None]


PUBLISHED = {
    "resnet50": "DEFAULT", "resnet101": "IMAGENET1K_V1", "efficientnet_b0": "DEFAULT", "inception_v3": "DEFAULT",
    "vit_b_16": "IMAGENET1K_SWAG_E2E_V1",
}  # fmt: skip
"""Crops of 224, 299 and 384 pixels, bilinear and bicubic."""


@pytest.fixture(scope="module", params=PUBLISHED)
def wanted(request: pytest.FixtureRequest) -> tuple[Preprocess, Any]:
    """The network's preprocessing, and the transforms published with its weights."""
    variant, weights = request.param, PUBLISHED[request.param]
    network = Pretrained(3, 5, variant, weights, preprocess="weights", load_weights=False)
    return network.preprocess, torchvision.models.get_model_weights(variant)[weights].transforms()


@pytest.mark.parametrize("portrait", [False, True])
def test_preprocessing_is_that_of_the_weights_on_a_real_picture(
    wanted: tuple[Preprocess, Any], portrait: bool, tmp_path: Path
) -> None:
    preprocess, transforms = wanted
    image = photo("china.jpg", portrait)
    expected = transforms(image)[None]
    # On the device, as it comes.
    preprocess.is_fitted = False
    assert max_level_difference(preprocess, preprocess(as_pixels(image)), expected) < 1.01
    # From files of many sizes.
    data = ImageFolder(root=str(folder_of_photos(tmp_path, [image, photo("flower.jpg", not portrait)])))
    data.open()
    data.load(preprocess)
    found = preprocess(data.images["train"].pixels)
    side = transforms.crop_size[0]
    assert data.images["train"].shape == (3, side, side)
    for number, each in enumerate([image, photo("flower.jpg", not portrait)]):
        assert max_level_difference(preprocess, found[2 * number : 2 * number + 1], transforms(each)[None]) < 1e-3


def folder_of_photos(root: Path, images: list[Image.Image]) -> Path:
    """root/train|val|test/<n>/0.png and 1.png, a class for each image."""
    for split in ("train", "val", "test"):
        for number, image in enumerate(images):
            for copied in range(2):
                path = root / split / f"class {number}" / f"{copied}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                image.save(path)
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
    assert data.images["test"].shape == (3, *(size if is_kept else (224, 224)))
    assert ("cropped" in data.summarise()) is not is_kept
    found = network.preprocess(data.images["test"].pixels)
    for number, each in enumerate(photos):
        assert max_level_difference(network.preprocess, found[2 * number], transforms(each)) < (
            1.01 if is_kept else 1e-3
        )


def test_resizing_and_cropping_equals_torchvisions_in_a_file_and_on_the_device() -> None:
    rng = np.random.default_rng(0)
    for _ in range(60):
        height, width, side = (int(n) for n in rng.integers([150, 150, 8], [300, 300, 64]))
        frame = side + int(rng.integers(0, 30))
        kind = ("bilinear", "bicubic")[int(rng.integers(2))]
        image = Image.fromarray(rng.integers(0, 256, (height, width, 3)).astype(np.uint8))
        mode = torchvision.transforms.InterpolationMode(kind)
        theirs = torchvision.transforms.functional.resize(image, [frame], mode)
        expected = np.asarray(torchvision.transforms.functional.center_crop(theirs, [side]), dtype=int)
        resize = Resize(side, side, (frame, frame), kind)
        assert np.array_equal(resize.resize_image(image), expected)
        levels = resize.resize_pixels(as_pixels(image).float())[0].permute(1, 2, 0).numpy()
        assert np.abs(levels - expected).max() <= 1


def test_a_panorama_is_cropped_without_being_resized_whole() -> None:
    panorama = Image.fromarray(np.random.default_rng(0).integers(0, 256, (2, 60_000, 3)).astype(np.uint8))
    found = Resize(224, 224, (256, 256)).resize_image(panorama)  # whole, it would be 6 GB
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
    assert "  backbone frozen with random weights (model.weights=null)\n" in run.log.read_text()
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
