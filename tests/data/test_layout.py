"""Split folders and class folders are told apart, and what is left out is named."""

import random
import re
from pathlib import Path

import pytest
from image_data import names_by_split, open_data
from image_files import write_folder

from viewfinder.data.module import ImageData
from viewfinder.data.sources.image_folder import ImageFolder, list_image_folder
from viewfinder.errors import UserError

CLASSES = {"cat": 6, "dog": 6}


def open_folder(root: Path) -> ImageData:
    return open_data(ImageFolder(root=str(root), stratify=True))


def refusal(root: Path) -> str:
    with pytest.raises(UserError) as caught:
        open_folder(root)
    return " ".join(str(caught.value).split())


@pytest.mark.parametrize("below", ["", "archive", "archive/images"])
@pytest.mark.parametrize(
    ("train", "val", "test"),
    [("Training", "Validation", "Testing"), ("TRAIN", "Valid", "TEST"), ("train", "eval", "Test")],
)
def test_split_folders_are_found_in_any_case_and_inside_the_only_folder(
    tmp_path: Path, below: str, train: str, val: str, test: str
) -> None:
    for name, count in ((train, 4), (val, 3), (test, 2)):
        write_folder(tmp_path / below / name, {"cat": count, "dog": count})
    data = open_folder(tmp_path)
    assert data.class_names == ["cat", "dog"]
    for split, name, count in (("train", train, 4), ("val", val, 3), ("test", test, 2)):
        expected = [Path(below, name, label, f"{n:02}.png").as_posix() for label in CLASSES for n in range(count)]
        assert names_by_split(data)[split] == expected
    assert any("the only folder in data.root" in line for line in data.warnings) == bool(below)


def test_class_folders_are_found_inside_the_only_folder_beside_what_macos_packs(tmp_path: Path) -> None:
    write_folder(tmp_path / "images", CLASSES)
    write_folder(tmp_path / "__MACOSX" / "images", {"cat": 1})
    data = open_folder(tmp_path)
    assert data.class_names == ["cat", "dog"]
    assert data.warnings == ["read from images/, the only folder in data.root"]


def test_a_split_that_was_packed_twice_is_entered(tmp_path: Path) -> None:
    for split in ("train", "test"):
        write_folder(tmp_path / split / split, CLASSES)
    data = open_folder(tmp_path)
    assert data.class_names == ["cat", "dog"]
    assert len(data.splits["test"]) == 12


@pytest.mark.parametrize(
    ("one", "other"), [("training_set", "test_set"), ("seg_train", "seg_test"), ("trainA", "testA"), ("Train1", "Val1")]
)
def test_folders_whose_names_look_like_splits_are_not_taken_for_classes(tmp_path: Path, one: str, other: str) -> None:
    for name in (one, other):
        write_folder(tmp_path / name, CLASSES)
    write_folder(tmp_path, {"more": 3})
    message = refusal(tmp_path)
    assert f"{one}/" in message
    assert f"{other}/" in message
    assert "look like splits" in message


def test_classes_with_the_words_of_splits_in_their_names_are_classes(tmp_path: Path) -> None:
    names = ["bullet train", "contestant", "invalid", "test tube", "trainer"]
    write_folder(tmp_path, dict.fromkeys(names, 6))
    data = open_folder(tmp_path)
    assert (data.class_names, data.warnings) == (names, [])


def test_images_beside_train_are_named(tmp_path: Path) -> None:
    write_folder(tmp_path / "train", CLASSES)
    write_folder(tmp_path, {"bird": 5, "fish/deep": 2})
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "index.txt").write_text("no image")
    (warning,) = open_folder(tmp_path).warnings
    assert warning.startswith("7 images of bird, fish beside the split folders are not used")


@pytest.mark.parametrize("other", ["test", "valid"])
def test_a_split_folder_beside_class_folders_is_refused_with_their_names(tmp_path: Path, other: str) -> None:
    write_folder(tmp_path, {"bus": 3, "car": 3, other: 3})
    message = refusal(tmp_path)
    assert f"contains {other}/ but no train/, and images in bus, car" in message
    (tmp_path / "train").mkdir()
    for name in ("bus", "car", other):
        (tmp_path / name).rename(tmp_path / "train" / name)
    assert open_data(ImageFolder(root=str(tmp_path))).class_names == sorted(["bus", "car", other])


def test_a_class_named_train_is_refused_with_the_remedy(tmp_path: Path) -> None:
    write_folder(tmp_path, {"bus": 3, "car": 3, "train": 3})
    assert "If train is a class, put all class folders into a folder named train/." in refusal(tmp_path)


@pytest.mark.parametrize("folder", ["test", "test/test", "Validation"])
def test_a_split_without_class_folders_is_refused_with_the_number_of_its_images(tmp_path: Path, folder: str) -> None:
    write_folder(tmp_path / "train", CLASSES)
    write_folder(tmp_path, {folder: 5})
    message = refusal(tmp_path)
    assert f"{tmp_path}/{folder} contains 5 images but no folders of classes" in message
    assert "viewfinder predict" in message


def test_an_empty_split_folder_is_refused_by_its_path(tmp_path: Path) -> None:
    write_folder(tmp_path / "train", CLASSES)
    (tmp_path / "val").mkdir()
    assert f"{tmp_path}/val is empty" in refusal(tmp_path)


def test_a_split_that_is_a_link_to_nowhere_is_refused(tmp_path: Path) -> None:
    write_folder(tmp_path / "train", CLASSES)
    (tmp_path / "Test").symlink_to("/no/such/folder")
    assert f"{tmp_path}/Test is a link to /no/such/folder, which does not exist" in refusal(tmp_path)


def test_splits_inside_classes_are_refused(tmp_path: Path) -> None:
    for name in CLASSES:
        write_folder(tmp_path / name, {"train": 3, "Test": 3})
    message = refusal(tmp_path)
    assert "contains cat/ as a class, but Test/, train/ are inside it" in message
    assert "train/cat/" in message


def test_a_data_set_beside_another_folder_of_images_is_refused_with_its_path(tmp_path: Path) -> None:
    for split in ("train", "test"):
        write_folder(tmp_path / "data" / split, CLASSES)
    write_folder(tmp_path, {"samples": 3})
    assert f"data.root={tmp_path}/data" in refusal(tmp_path).replace(". If", " If")


def test_folders_inside_class_folders_are_named(tmp_path: Path) -> None:
    write_folder(tmp_path, {"animals/cat": 3, "animals/dog": 3, "plants": 6})
    data = open_folder(tmp_path)
    assert data.class_names == ["animals", "plants"]
    expected = "images of 2 folders inside class folders belong to those classes: animals/cat, animals/dog"
    assert data.warnings == [expected]


def test_images_outside_class_folders_are_named(tmp_path: Path) -> None:
    write_folder(tmp_path / "train", CLASSES)
    write_folder(tmp_path, {".": 2, "train/.": 1})
    (warning,) = open_folder(tmp_path).warnings
    assert warning == "3 images are in no class folder and not used: 00.png, 01.png, train/00.png"


def test_class_names_that_look_the_same_are_named(tmp_path: Path) -> None:
    write_folder(tmp_path, {"cat": 6, "Cat": 6, "Ma\u0308use": 6, "M\u00e4use": 6, "dog": 6})
    assert len(open_folder(tmp_path).warnings) == 2


@pytest.mark.parametrize("output", ["outputs/net/2026-01-01", "outputs/net/rates/0", "outputs", "cat/run"])
@pytest.mark.parametrize("file", ["run.json", "sweep.json", "search.json", "lr_range.json"])
def test_images_that_viewfinder_wrote_are_no_images_of_a_data_set(tmp_path: Path, output: str, file: str) -> None:
    write_folder(tmp_path, CLASSES)
    before = names_by_split(open_folder(tmp_path))
    write_folder(tmp_path, {output: 3, f"{output}/deeper": 2})
    (tmp_path / output / file).write_text("{}")
    data = open_folder(tmp_path)
    assert names_by_split(data) == before
    (warning,) = data.warnings
    assert warning.startswith("left out 1 folder that Viewfinder wrote: ")


def test_a_run_folder_is_refused_as_a_data_set(tmp_path: Path) -> None:
    write_folder(tmp_path / "net" / "first", {"charts": 2})
    (tmp_path / "net" / "first" / "run.json").write_text("{}")
    for root in (tmp_path, tmp_path / "net" / "first"):
        assert "is a folder that Viewfinder wrote" in refusal(root)


def test_what_systems_and_network_drives_leave_behind_is_ignored(tmp_path: Path) -> None:
    write_folder(tmp_path, CLASSES)
    before = names_by_split(open_folder(tmp_path))
    rubbish = ("__MACOSX", "@eaDir", "$RECYCLE.BIN", "lost+found", "System Volume Information", ".thumbnails", ".git")
    for name in rubbish:
        write_folder(tmp_path, {name: 2, f"cat/{name}": 2})
    for name in ("Thumbs.db", "desktop.ini", ".DS_Store", "._00.png", "00.png:Zone.Identifier", "Icon\r"):
        (tmp_path / "cat" / name).write_bytes(b"\xff\xd8\xff")
    data = open_folder(tmp_path)
    assert (names_by_split(data), data.warnings) == (before, [])


NAMES = ["train", "test", "Val", "cat", "dog", "bird", "data", "__MACOSX", "outputs", "training_set", "test_set"]


def grow(folder: Path, rng: random.Random, depth: int = 0) -> None:
    """Write folders of random names within each other, some with images and some with run.json."""
    folder.mkdir()
    for number in range(rng.choice([0, 0, 0, 1, 2]) if depth < 3 else 2):
        (folder / f"{number}.png").touch()
    if depth and rng.random() < 0.1:
        (folder / "run.json").touch()
    for name in rng.sample(NAMES, rng.choice([0, 1, 2, 2, 3])) if depth < 3 else ():
        grow(folder / name, rng, depth + 1)


def test_every_image_of_a_random_tree_of_folders_is_used_or_counted_in_a_warning(tmp_path: Path) -> None:
    accepted = 0
    for seed in range(150):
        root = tmp_path / str(seed)
        grow(root, random.Random(seed))
        try:
            _, splits, warnings = list_image_folder(str(root), None)
        except UserError:
            continue
        accepted += 1
        inside = {path: path.relative_to(root) for path in root.rglob("*.png")}
        outputs = {file.parent for file in root.rglob("run.json")}
        expected = {
            name.as_posix()
            for path, name in inside.items()
            if "__MACOSX" not in name.parts and outputs.isdisjoint(path.parents)
        }
        used = [name for split in splits.values() for name in split.names]
        counts = [match for line in warnings if (match := re.match(r"(\d+) images? .*not used", line))]
        assert len(set(used)) == len(used)
        assert expected.issuperset(used)
        assert len(expected) - len(used) == sum(int(match[1]) for match in counts), (seed, warnings)
    assert accepted > 20
