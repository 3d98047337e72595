"""Equal files in several splits or classes are named, and others are not read."""

import shutil
from pathlib import Path

import pytest
from image_data import open_data
from image_files import noise, save_image

from viewfinder.data import duplicates
from viewfinder.data.sources.image_folder import ImageFolder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder of 36 different images."""
    for number, place in enumerate(
        f"{s}/{c}/{n}.png" for s in ("train", "val", "test") for c in "ab" for n in range(6)
    ):
        save_image(tmp_path, place, noise(6, 8, 3, seed=number))
    return tmp_path


def test_images_of_val_and_test_that_are_files_of_train_are_named(root: Path) -> None:
    shutil.copy(root / "train" / "a" / "0.png", root / "test" / "a" / "copy.png")
    shutil.copy(root / "train" / "a" / "1.png", root / "test" / "a" / "other.png")
    shutil.copy(root / "train" / "b" / "0.png", root / "val" / "b" / "copy.png")
    shutil.copy(root / "train" / "b" / "5.png", root / "train" / "b" / "again.png")
    assert open_data(ImageFolder(root=str(root))).warnings == [
        "1 image of val is also in train, as the same file: val/b/copy.png = train/b/0.png",
        "2 images of test are also in train, as the same file: test/a/copy.png = train/a/0.png, "
        "test/a/other.png = train/a/1.png",
    ]


def test_a_file_in_two_classes_is_named(root: Path) -> None:
    shutil.copy(root / "train" / "a" / "0.png", root / "train" / "b" / "copy.png")
    assert open_data(ImageFolder(root=str(root))).warnings == [
        "1 image is in several classes, as the same file: train/a/0.png = train/b/copy.png"
    ]


def test_files_that_differ_only_at_their_end_are_compared_to_it_and_others_are_not_read(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = (root / "train" / "a" / "0.png").read_bytes() + bytes(9000)  # Pillow ignores what follows the image
    (root / "train" / "a" / "long.png").write_bytes(content + b"1")
    (root / "test" / "b" / "long.png").write_bytes(content + b"2")
    read: list[str] = []
    real = duplicates.hash_files
    monkeypatch.setattr(
        duplicates, "hash_files", lambda paths, text: read.extend(p.name for p in paths) or real(paths, text)
    )
    assert open_data(ImageFolder(root=str(root))).warnings == []
    assert read == ["long.png", "long.png"]
