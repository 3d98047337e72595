"""Data sets of torchvision are read as torchvision reads them, and what is wrong with them is named."""

import contextlib
import io
import json
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import QUICK, Type, assert_same_run, train_into
from image_data import open_data
from image_files import assert_equal, chw
from PIL import Image
from torchvision import datasets
from torchvision_files import WORDS, WRITERS, encode_idx, write_food101, write_mnist

from viewfinder.data.sources import download
from viewfinder.data.sources.torchvision_dataset import TorchvisionDataset, open_datasets
from viewfinder.data.sources.torchvision_images import read_images
from viewfinder.data.sources.torchvision_internals import find_files, list_accepted_values
from viewfinder.data.sources.torchvision_signature import WITHOUT_LABELS, find_split_values, get_class, list_names
from viewfinder.errors import Stopped, UserError
from viewfinder.runs.folder import RunFolder

ARGUMENTS: dict[str, dict[str, Any]] = {"EMNIST": {"split": "letters"}}
SIZES = {
    "FashionMNIST": (32, 8, 20), "EMNIST": (42, 10, 26), "CIFAR100": (32, 8, 20), "SVHN": (32, 8, 20),
    "STL10": (16, 4, 10), "Food101": (19, 5, 10), "EuroSAT": (14, 5, 5), "Country211": (16, 8, 6), "GTSRB": (16, 4, 8),
    "Flowers102": (15, 6, 9), "OxfordIIITPet": (16, 4, 8),
}  # fmt: skip
CLASSES = {
    "FashionMNIST": datasets.FashionMNIST.classes, "CIFAR100": WORDS, "SVHN": [str(n) for n in range(10)],
    "STL10": WORDS, "Food101": ["apple_pie", "waffles"], "EuroSAT": ["Forest", "River"], "Country211": ["AD", "ZW"],
    "GTSRB": ["0", "1"], "OxfordIIITPet": ["Abyssinian", "Basset Hound"],
}  # fmt: skip
OPTIONS = ["model=mlp", "model.widths=[8]", "model.image_size=8", "data.batch_size=8", *QUICK]


def write_set(name: str, root: Path, patch: pytest.MonkeyPatch) -> TorchvisionDataset:
    WRITERS[name](root, patch)
    return TorchvisionDataset(name=name, root=str(root), arguments=ARGUMENTS.get(name), download=False)


def construct(name: str, root: Path, **selected: Any) -> Any:
    return getattr(datasets, name)(str(root), **selected, **ARGUMENTS.get(name, {}))


@pytest.mark.parametrize("name", WRITERS)
def test_a_set_has_the_images_and_labels_that_torchvision_gives(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = open_data(write_set(name, tmp_path, monkeypatch), 96)
    assert tuple(len(data.splits[split]) for split in ("train", "val", "test")) == SIZES[name]
    assert data.class_names == CLASSES.get(name, data.class_names)
    parameter = "train" if name in ("FashionMNIST", "EMNIST", "CIFAR100") else "split"
    train = {"train": True, "split": "trainval" if name == "OxfordIIITPet" else "train"}[parameter]
    value = {"train": train, "test": {"train": False, "split": "test"}[parameter], "valid": "valid", "val": "val"}
    seen: dict[str, Any] = {}
    for split in data.splits:
        for image, label, image_name in zip(
            data.images[split].pixels, data.splits[split].labels, data.splits[split].names, strict=True
        ):
            seen[image_name] = (image, data.class_names[label])
    if "/0" in next(iter(seen)) and next(iter(seen)).startswith(("train/", "test/")):  # numbered images in memory
        for part in ("train", "test"):
            theirs = construct(name, tmp_path, **{parameter: value[part]})
            for index in range(len(theirs)):
                image, label = theirs[index]
                ours, class_name = seen.pop(f"{part}/{index:05}")
                assert_equal(ours, chw(np.asarray(image)))
                assert class_name == (getattr(theirs, "classes", None) or [str(n) for n in range(10)])[label]
    else:
        size = data.image_shape[1:]
        for image_name, (ours, _) in list(seen.items()):
            theirs = Image.open(tmp_path / image_name).convert("RGB")
            if (theirs.height, theirs.width) == size:
                assert_equal(ours, chw(np.asarray(theirs)))
            seen.pop(image_name)
    assert seen == {}


@pytest.mark.parametrize("name", ["Food101", "EuroSAT", "Country211", "GTSRB", "Flowers102", "OxfordIIITPet"])
def test_files_and_labels_are_those_that_torchvision_opens(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The undocumented attributes and the loader lead to the same files."""
    WRITERS[name](tmp_path, monkeypatch)
    opened, has_loader = open_datasets(name, tmp_path, {}, download=False)
    images = read_images(opened["train"], has_loader)
    values = find_split_values(get_class(name))
    theirs = construct(name, tmp_path, **({"split": values["train"]} if values else {}))
    assert len(images.content) == len(theirs)
    for index, path in enumerate(images.content):
        image, label = theirs[index]
        assert images.labels[index] == label
        assert np.array_equal(np.asarray(Image.open(path).convert("RGB")), np.asarray(image))
    if (files := find_files(theirs)) is not None:
        assert ([Path(path) for path in files[0]], files[1]) == (images.content, images.labels)


def test_the_values_of_a_parameter_are_those_that_its_class_accepts() -> None:
    assert list_accepted_values(datasets.SVHN, "split") == ["train", "test", "extra"]
    assert list_accepted_values(datasets.EMNIST, "split") == [*datasets.EMNIST.splits]
    assert find_split_values(datasets.EMNIST) == {"train": True, "test": False}
    assert find_split_values(datasets.FGVCAircraft) == {"train": "train", "val": "val", "test": "test"}
    assert find_split_values(datasets.OxfordIIITPet) == {"train": "trainval", "test": "test"}
    assert find_split_values(datasets.Country211) == {"train": "train", "val": "valid", "test": "test"}
    assert find_split_values(datasets.SUN397) == {}


def test_every_set_of_torchvision_is_known_as_one_with_classes_or_without() -> None:
    classes = {name for name in datasets.__all__ if isinstance(getattr(datasets, name), type)}
    assert set(list_names()) == classes - WITHOUT_LABELS
    assert list_names() == [
        "CIFAR10", "CIFAR100", "CLEVRClassification", "Caltech101", "Caltech256", "Country211", "DTD", "EMNIST",
        "EuroSAT",
        "FER2013", "FGVCAircraft", "FashionMNIST", "Flowers102", "Food101", "GTSRB", "INaturalist", "ImageNet",
        "Imagenette", "KMNIST", "LFWPeople", "MNIST", "Omniglot", "OxfordIIITPet", "PCAM", "Places365", "QMNIST",
        "RenderedSST2", "SEMEION", "STL10", "SUN397", "SVHN", "StanfordCars", "USPS",
    ]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", ["FashionMNIST", "Food101"])
def test_a_run_is_trained_evaluated_resumed_and_predicts(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, viewfinder: Type,
    at_step: Callable[[int, Callable[[], Any]], None],
) -> None:  # fmt: skip
    def stop() -> None:
        raise Stopped(15)

    WRITERS[name](tmp_path / "in", monkeypatch)
    words = [*OPTIONS, "data=torchvision", f"data.name={name}", f"data.root={tmp_path / 'in'}"]
    whole = train_into(tmp_path / "whole", *words)
    at_step(5, stop)
    with contextlib.suppress(Stopped):
        train_into(tmp_path / "run", *words)
    evaluated = viewfinder("evaluate", whole.path)
    assert (evaluated.code, "Equal to scores.json." in evaluated.out) == (0, True)
    resumed = viewfinder("resume", tmp_path / "run")
    assert resumed.code == 0, resumed.err
    assert_same_run(RunFolder.open(tmp_path / "run"), whole)
    Image.fromarray(np.zeros((30, 20), np.uint8)).save(tmp_path / "photo.png")
    predicted = viewfinder("predict", whole.path, tmp_path / "photo.png")
    assert predicted.code == 0
    assert any(shown in predicted.out for shown in whole.read_data()["class_names"])
    shutil.move(tmp_path / "in", tmp_path / "moved")
    moved = viewfinder("evaluate", whole.path, f"data.root={tmp_path / 'moved'}")
    assert "Equal to scores.json." in moved.out


def test_files_that_are_not_extracted_are_found_and_extracted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_mnist(tmp_path, monkeypatch, packed=True)
    data = open_data(TorchvisionDataset(name="FashionMNIST", root=str(tmp_path)), 28)
    assert len(data.splits["test"]) == 20
    assert not list(tmp_path.glob(".*"))


# What is wrong


def refuse(name: str, root: Path, **options: Any) -> UserError:
    options = {"download": False, **options}
    with pytest.raises(UserError) as caught:
        open_data(TorchvisionDataset(name=name, root=str(root), arguments=ARGUMENTS.get(name), **options), 16)
    return caught.value


def test_a_set_that_cannot_be_downloaded_is_one_error_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_mnist(tmp_path / "unused", monkeypatch)
    shutil.rmtree(tmp_path / "unused")
    root = tmp_path / "some" / "data"
    (problem,) = refuse("FashionMNIST", root, download=True).problems
    assert problem.key == "data.root"
    assert f"FashionMNIST is not in {root} and cannot be downloaded: " in problem.rule
    assert "refused" in problem.rule
    assert "experiment=quickstart" in problem.remedy
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", [name for name in WRITERS if name != "EMNIST"])
def test_a_set_that_must_not_be_downloaded_is_an_error_that_leaves_nothing(name: str, tmp_path: Path) -> None:
    error = refuse(name, tmp_path / "data")
    assert all("data.download=false" in problem.rule for problem in error.problems)
    assert list(tmp_path.iterdir()) == []


def test_a_download_that_was_interrupted_is_refused_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(self: Any) -> None:
        WRITERS["EuroSAT"](tmp_path, monkeypatch)
        raise KeyboardInterrupt

    (tmp_path / "another_set").mkdir()
    (tmp_path / "another_set" / "other.txt").write_text("")
    monkeypatch.setattr(datasets.EuroSAT, "download", interrupted)
    monkeypatch.chdir(tmp_path.parent)
    with pytest.raises(KeyboardInterrupt):
        open_data(TorchvisionDataset(name="EuroSAT", root=tmp_path.name))
    (problem,) = refuse("EuroSAT", tmp_path).problems
    assert "interrupted" in problem.rule
    assert problem.remedy.endswith("eurosat, .EuroSAT.incomplete")
    (tmp_path / ".EuroSAT.incomplete").unlink()
    assert len(open_data(TorchvisionDataset(name="EuroSAT", root=str(tmp_path))).splits["train"]) == 14


def test_a_set_that_another_process_downloads_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(download, "PATIENCE", 0.05)
    with download.downloading("EuroSAT", tmp_path):
        (problem,) = refuse("EuroSAT", tmp_path).problems
    assert problem.rule == "is still locked by another process, which downloads EuroSAT"
    assert "for another process, which downloads EuroSAT, to release" in capsys.readouterr().err


def test_an_archive_that_leads_outside_is_not_extracted(tmp_path: Path) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("../evil"), io.BytesIO(b""))
    packed.seek(0)
    with (
        download.safe_extraction(),
        tarfile.open(fileobj=packed) as tar,
        pytest.raises(tarfile.OutsideDestinationError),
    ):
        tar.extractall(tmp_path / "in")
    assert not (tmp_path / "evil").exists()


def lacks_test_files(root: Path) -> None:
    for path in (root / "FashionMNIST" / "raw").glob("t10k*"):
        path.unlink()


def has_other_labels(root: Path) -> None:
    raw = root / "FashionMNIST" / "raw"
    for prefix, count in (("train", 40), ("t10k", 20)):
        (raw / f"{prefix}-labels-idx1-ubyte").write_bytes(encode_idx(np.full(count, 77, np.uint8)))


def has_fewer_labels(root: Path) -> None:
    raw = root / "FashionMNIST" / "raw"
    (raw / "train-labels-idx1-ubyte").write_bytes(encode_idx(np.zeros(39, np.uint8)))


def is_cut(root: Path) -> None:
    for prefix in ("train", "t10k"):
        path = root / "FashionMNIST" / "raw" / f"{prefix}-images-idx3-ubyte"
        path.write_bytes(path.read_bytes()[:5000])


def is_empty(root: Path) -> None:
    raw = root / "FashionMNIST" / "raw"
    for prefix in ("train", "t10k"):
        (raw / f"{prefix}-images-idx3-ubyte").write_bytes(encode_idx(np.zeros((0, 28, 28), np.uint8)))
        (raw / f"{prefix}-labels-idx1-ubyte").write_bytes(encode_idx(np.zeros(0, np.uint8)))


@pytest.mark.parametrize(
    ("harm", "expected"),
    [
        (lacks_test_files, ["the train split of FashionMNIST is not in", "the test split of FashionMNIST is not in"]),
        (has_other_labels, ["40 of 40 labels are not among the 10 classes: 77", "20 of 20 labels are not"]),
        (has_fewer_labels, ["the train files of FashionMNIST are damaged"]),
        (is_cut, ["the train files of FashionMNIST are damaged", "the test files of FashionMNIST are damaged"]),
        (is_empty, ["the train files of FashionMNIST are damaged", "the test files of FashionMNIST are damaged"]),
    ],
)
def test_what_is_wrong_with_files_in_memory_is_named_for_each_split(
    harm: Callable[[Path], None], expected: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_mnist(tmp_path, monkeypatch)
    harm(tmp_path)
    problems = refuse("FashionMNIST", tmp_path).problems
    assert len(problems) == len(expected)
    for problem, rule in zip(problems, expected, strict=True):
        assert rule in problem.rule
        assert problem.remedy


def test_files_that_do_not_match_their_checksums_are_never_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    WRITERS["CIFAR100"](tmp_path, monkeypatch)
    canary = tmp_path / "canary"
    bomb = b"cpathlib\nPosixPath\n(V" + str(canary).encode() + b"\ntRctouch\n."
    (tmp_path / "cifar-100-python" / "train").write_bytes(bomb)
    error = refuse("CIFAR100", tmp_path)
    assert "does not match its published checksums" in error.problems[0].rule
    assert not canary.exists()
    assert "cannot be downloaded" in refuse("CIFAR100", tmp_path, download=True).problems[0].rule


def test_listed_files_that_are_missing_outside_or_unreadable_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_food101(tmp_path / "in", monkeypatch)
    images, meta = tmp_path / "in" / "food-101" / "images", tmp_path / "in" / "food-101" / "meta"
    (images / "waffles" / "train03.jpg").unlink()
    (images / "apple_pie" / "test01.jpg").write_bytes(b"no image")
    rules = {problem.key: problem.rule for problem in refuse("Food101", tmp_path / "in").problems}
    assert "No such file" in rules[str(images / "waffles" / "train03.jpg")]
    assert str(images / "apple_pie" / "test01.jpg") in rules
    skipped = TorchvisionDataset(name="Food101", root=str(tmp_path / "in"), download=False, on_error="skip")
    assert {image.picture for image in open_data(skipped, 8).skipped} == {
        "food-101/images/waffles/train03.jpg", "food-101/images/apple_pie/test01.jpg",
    }  # fmt: skip
    listed = json.loads((meta / "test.json").read_text())
    listed["waffles"].append("../../../secret")
    listed["cake"] = listed.pop("waffles")
    (meta / "test.json").write_text(json.dumps(listed))
    rules = [problem.rule for problem in refuse("Food101", tmp_path / "in").problems]
    assert rules[0] == "has classes that train lacks: cake"
    assert rules[1].startswith("lists 1 files outside data.root: ")


@pytest.mark.parametrize(
    ("name", "arguments", "key", "rule"),
    [
        ("FashonMNIST", None, "data.name", "Did you mean FashionMNIST?"),
        ("VOCDetection", None, "data.name", "without classes"),
        ("SVHN", {"split": "extra"}, "data.arguments.split", "is set by Viewfinder"),
        ("MNIST", {"transform": 1}, "data.arguments.transform", "is set by Viewfinder"),
        ("STL10", {"fold": 1}, "data.arguments.fold", "Did you mean folds?"),
        ("EMNIST", None, "data.arguments.split", "is required by EMNIST"),
    ],
)
def test_a_wrong_name_or_argument_is_named(name: str, arguments: Any, key: str, rule: str) -> None:
    with pytest.raises(UserError) as caught:
        TorchvisionDataset(name=name, arguments=arguments)
    (problem,) = caught.value.problems
    assert (problem.key, rule in problem.rule) == (key, True)
    assert problem.remedy


def test_an_invalid_value_of_an_argument_is_answered_with_those_that_are_valid(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        open_data(TorchvisionDataset(name="EMNIST", root=str(tmp_path), arguments={"split": "leters"}))
    assert {problem.key for problem in caught.value.problems} == {"data.arguments"}
    assert "letters" in caught.value.problems[0].rule
