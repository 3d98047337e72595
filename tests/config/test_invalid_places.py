"""Data folders, run folders and devices that cannot be used are rejected before anything is created."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from command_lines import expect_error
from conftest import on_one_line, write_images

FOLDER = ("data=image_folder", "model.image_size=8", "trainer=cpu")


def missing(root: Path) -> None:
    pass


def misspelt(root: Path) -> None:
    write_images(root.with_name("pictuers"), "cat", "dog")


def a_file(root: Path) -> None:
    root.write_text("cat")


def empty(root: Path) -> None:
    root.mkdir()


def without_classes(root: Path) -> None:
    write_images(root.parent, root.name)


def one_class(root: Path) -> None:
    write_images(root, "cat")


def class_without_images(root: Path) -> None:
    write_images(root, "cat", "dog")
    (root / "owl").mkdir()


def no_training_images(root: Path) -> None:
    write_images(root / "test", "cat", "dog")


def two_folders_for_validation(root: Path) -> None:
    for split in ("train", "val", "validation"):
        write_images(root / split, "cat", "dog")


def a_class_that_is_only_validated(root: Path) -> None:
    write_images(root / "train", "cat", "dog")
    write_images(root / "val", "cat", "dog", "dgo")


def a_truncated_image(root: Path) -> None:
    write_images(root, "cat", "dog")
    whole = (root / "cat" / "3.png").read_bytes()
    (root / "cat" / "3.png").write_bytes(whole[: len(whole) // 2])


def a_text_named_as_an_image(root: Path) -> None:
    write_images(root, "cat", "dog")
    (root / "dog" / "letter.jpg").write_text("Dear John")


def too_few_to_split(root: Path) -> None:
    write_images(root, "cat", "dog", count=1)


PLACES = {
    missing: "does not exist",
    misspelt: "Did you mean pictuers?",
    a_file: "is a file, not a folder",
    empty: "is empty",
    without_classes: "Put the images of each class into a folder of their own.",
    one_class: "one class",
    class_without_images: "owl",
    no_training_images: "no train/",
    two_folders_for_validation: "val/ and validation/",
    a_class_that_is_only_validated: "Did you mean dog?",
    a_truncated_image: "cat/3.png",
    a_text_named_as_an_image: "dog/letter.jpg",
    too_few_to_split: "val",
}


@pytest.mark.parametrize(("prepare", "expected"), PLACES.items(), ids=[prepare.__name__ for prepare in PLACES])
def test_an_unusable_data_folder_is_rejected_with_the_reason(
    prepare: Callable[[Path], None], expected: str, working_folder: Path
) -> None:
    prepare(working_folder / "pictures")
    assert expected in on_one_line(expect_error(*FOLDER, "data.root=pictures"))


def test_an_existing_run_folder_is_rejected(working_folder: Path, cats_and_dogs: Path) -> None:
    (working_folder / "existing").mkdir()
    assert "already exists" in on_one_line(expect_error(*FOLDER, f"data.root={cats_and_dogs}", "run_dir=existing"))


def test_an_output_folder_that_cannot_be_written_is_rejected(working_folder: Path, cats_and_dogs: Path) -> None:
    (working_folder / "file").write_text("")
    assert "run_dir" in str(expect_error(*FOLDER, f"data.root={cats_and_dogs}", "output_dir=file"))


def test_a_missing_gpu_is_rejected(working_folder: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    for override in ("trainer=gpu", "trainer.accelerator=gpu"):
        assert "trainer=cpu" in str(expect_error("experiment=quickstart", override))


def test_an_invalid_file_of_weights_is_rejected(working_folder: Path, cats_and_dogs: Path) -> None:
    (working_folder / "weights.pth").write_text("no weights")
    overrides = ("data=image_folder", f"data.root={cats_and_dogs}", "model=resnet50", "trainer=cpu")
    assert "cannot be read as weights" in on_one_line(expect_error(*overrides, "model.weights=weights.pth"))
