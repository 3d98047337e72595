"""Split folders and class folders are told apart, and what is left out is named."""

import json
import os
import random
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from image_data import names_by_split, open_data
from image_files import write_folder

from viewfinder.data import layout
from viewfinder.data.module import ImageData
from viewfinder.data.sources.image_folder import ImageFolder, list_image_folder
from viewfinder.errors import UserError
from viewfinder.runs.folder import RunFolder
from viewfinder.sweeps.folder import SweepFolder

CLASSES = {"cat": 6, "dog": 6}
OUTPUTS = {
    "run.json": {"status": "finished", "seed": 1},
    "sweep.json": {"command": "", "jobs": [], "earlier": []},
    "search.json": {"typed": [], "space": {}, "fixed": {}},
    "lr_range.json": {"proposal": None, "steps": 9, "planned": 100},
}
"""File that Viewfinder writes -> some of its content."""


def write_output(folder: Path, file: str) -> None:
    """Write the files of a folder by which it is recognised as Viewfinder's."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / file).write_text(json.dumps(OUTPUTS[file]))
    (folder / "config.yaml").write_text("name: net")


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


@pytest.mark.parametrize(
    ("folders", "misspelt"),
    [
        ({"train": 6, "tset": 3}, "tset/, which looks like a misspelt test/"),
        ({"train": 6, "test": 3, "Vaildation": 3}, "Vaildation/, which looks like a misspelt val/"),
        ({"trian": 6, "test": 3}, "test/ but no train/, and images in trian Rename"),
        ({"trian": 6, "tset": 3}, "trian/ and tset/, which look like splits and would be taken for classes"),
    ],
)
def test_a_split_folder_with_a_misspelt_name_is_refused(tmp_path: Path, folders: dict[str, int], misspelt: str) -> None:
    for name, count in folders.items():
        write_folder(tmp_path / name, dict.fromkeys(CLASSES, count))
    message = refusal(tmp_path).replace("If trian/ contains the training images, rename", "Rename")
    assert f"contains {misspelt}" in message


def test_only_folders_of_the_same_classes_with_the_name_of_a_missing_split_are_misspelt(tmp_path: Path) -> None:
    write_folder(tmp_path / "train", CLASSES)
    write_folder(tmp_path / "test", CLASSES)
    write_folder(tmp_path / "tset", CLASSES)  # the split has a folder
    write_folder(tmp_path / "vale", {"hill": 2})  # other classes
    write_folder(tmp_path / "vase", {".": 2})
    (warning,) = [line for line in open_folder(tmp_path).warnings if "beside" in line]
    assert warning.startswith("16 images of tset, vale, vase beside the split folders are not used")
    write_folder(tmp_path / "places", {"rain": 6, "vest/a": 6, "rain/b": 2})
    assert open_folder(tmp_path / "places").class_names == ["rain", "vest"]


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


def test_a_folder_beside_train_is_searched_up_to_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_folder(tmp_path / "train", CLASSES)
    write_folder(tmp_path, {"bird": 5, "fish/a": 5, "fish/b": 5})
    monkeypatch.setattr(layout, "MAX_ENTRIES", 8)
    (warning,) = open_folder(tmp_path).warnings
    # fish, fish/a and its 5 images leave one entry for fish/b.
    assert warning.startswith("at least 10 images of bird, fish beside the split folders are not used")


@pytest.fixture
def locked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Folders named locked cannot be listed or entered, as with mode 000 by users other than root."""
    real = {name: getattr(os, name) for name in ("scandir", "stat")}

    def refuse(function: str, inside: int) -> Any:
        def call(path: Any = ".", *args: Any, **options: Any) -> Any:
            parts = Path(path).parts if isinstance(path, str | os.PathLike) else ()
            if "locked" in parts[: len(parts) - inside]:
                raise PermissionError(13, "Permission denied", str(path))
            return real[function](path, *args, **options)

        return call

    monkeypatch.setattr(os, "scandir", refuse("scandir", 0))
    monkeypatch.setattr(os, "stat", refuse("stat", 1))


def test_an_unreadable_folder_matters_only_where_its_images_are_used(tmp_path: Path, locked: None) -> None:
    write_folder(tmp_path / "train", CLASSES)
    (tmp_path / "locked").mkdir()
    data = open_folder(tmp_path)
    assert (data.class_names, data.warnings) == (["cat", "dog"], [])
    (tmp_path / "locked").rename(tmp_path / "train" / "locked")
    for root in (tmp_path, tmp_path / "train"):
        selected = open_data(ImageFolder(root=str(root), stratify=True, classes=["cat", "dog"]))
        assert [len(split) for split in selected.splits.values()] == [8, 2, 2]
        assert "cannot be listed: Permission denied" in refusal(root)


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
    assert len(open_folder(tmp_path).describe_warnings()) == 2


@pytest.mark.parametrize("output", ["outputs/net/2026-01-01", "outputs/net/rates/0", "outputs", "cat/run"])
@pytest.mark.parametrize("file", OUTPUTS)
def test_images_that_viewfinder_wrote_are_no_images_of_a_data_set(tmp_path: Path, output: str, file: str) -> None:
    write_folder(tmp_path, CLASSES)
    before = names_by_split(open_folder(tmp_path))
    write_folder(tmp_path, {output: 3, f"{output}/deeper": 2})
    write_output(tmp_path / output, file)
    (tmp_path / output).parent.joinpath("notes.txt").write_text("no image")
    data = open_folder(tmp_path)
    assert names_by_split(data) == before
    warnings = [line for line in data.warnings if "notes.txt" not in line]
    assert [line.partition(":")[0] for line in warnings] == ["left out 1 folder that Viewfinder wrote"]


@pytest.mark.parametrize("file", OUTPUTS)
@pytest.mark.parametrize("content", ["{}", "[]", "no JSON", '{"status": "done", "space": [], "jobs": 3, "steps": 9}'])
def test_files_of_others_with_names_of_viewfinders_files_change_nothing(
    tmp_path: Path, file: str, content: str
) -> None:
    write_folder(tmp_path, {**CLASSES, "cat/deeper": 2})
    before = names_by_split(open_folder(tmp_path))
    for folder in (tmp_path, tmp_path / "cat", tmp_path / "cat" / "deeper"):
        (folder / file).write_text(content)
    data = open_folder(tmp_path)
    assert names_by_split(data) == before
    assert not any("Viewfinder wrote" in line for line in data.warnings)


def test_a_real_run_and_a_real_sweep_are_recognised(tmp_path: Path, finished: RunFolder) -> None:
    write_folder(tmp_path, CLASSES)
    before = names_by_split(open_folder(tmp_path))
    shutil.copytree(finished.path, tmp_path / "outputs" / "net" / "run")
    write_folder(tmp_path / "outputs", {"lr/charts": 2})
    SweepFolder(tmp_path / "outputs" / "lr", "lr").write()
    (tmp_path / "outputs" / "notes.txt").write_text("no image")
    data = open_folder(tmp_path)
    assert names_by_split(data) == before
    assert data.warnings == ["left out 1 folder that Viewfinder wrote: outputs"]


def test_nobody_is_told_to_remove_a_folder_that_contains_runs(tmp_path: Path) -> None:
    write_folder(tmp_path, CLASSES)
    write_output(tmp_path / "outputs" / "net" / "run", "run.json")
    (tmp_path / "outputs" / "empty").mkdir()
    message = refusal(tmp_path)
    assert "outputs is a class without images; left out 1 folder that Viewfinder wrote: net/run" in message
    assert "Move it out of data.root, or add images." in message
    assert "Remove" not in message


def test_a_run_folder_is_refused_as_a_data_set(tmp_path: Path) -> None:
    write_folder(tmp_path / "net" / "first", {"charts": 2})
    write_output(tmp_path / "net" / "first", "run.json")
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
        write_output(folder, "run.json")
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
