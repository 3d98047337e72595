"""A folder of images gives the classes, splits and images that are in it."""

from pathlib import Path

import numpy as np
import pytest
from image_data import flatten, names_by_split, open_data
from image_files import assert_equal, chw, noise, save_image, write_folder
from PIL import Image

from viewfinder.data.listing import list_images
from viewfinder.data.sources import image_folder
from viewfinder.data.sources.image_folder import ImageFolder
from viewfinder.errors import UserError


def test_given_splits_are_taken_as_they_are(tmp_path: Path) -> None:
    for split, count in (("train", 4), ("val", 2), ("test", 3)):
        write_folder(tmp_path / split, {"cat": count, "dog": count})
    data = open_data(ImageFolder(root=str(tmp_path)), 8)
    assert data.class_names == ["cat", "dog"]
    for split, count in (("train", 4), ("val", 2), ("test", 3)):
        expected = [f"{split}/{name}/{n:02}.png" for name in ("cat", "dog") for n in range(count)]
        assert data.splits[split].names.tolist() == expected
        assert data.images[split].labels.tolist() == [0] * count + [1] * count
        for position, name in enumerate(expected):
            assert_equal(data.images[split].pixels[position], chw(np.asarray(Image.open(tmp_path / name))))


def test_a_missing_split_is_cut_from_training_alone(tmp_path: Path) -> None:
    write_folder(tmp_path / "train", {"cat": 10, "dog": 10})
    write_folder(tmp_path / "testing", {"cat": 3, "dog": 2})
    data = open_data(ImageFolder(root=str(tmp_path), val_fraction=0.3))
    actual = names_by_split(data)
    assert {name: len(names) for name, names in actual.items()} == {"train": 14, "val": 6, "test": 5}
    assert sorted(actual["train"] + actual["val"]) == sorted(
        path.relative_to(tmp_path).as_posix() for path in (tmp_path / "train").rglob("*.png")
    )
    assert all(name.startswith("testing/") for name in actual["test"])


@pytest.mark.parametrize("stratify", [False, True])
def test_classes_directly_in_the_root_are_cut_into_three_splits(tmp_path: Path, stratify: bool) -> None:
    write_folder(tmp_path, {"b": 20, "a": 10, "c": 30})
    data = open_data(ImageFolder(root=str(tmp_path), val_fraction=0.1, test_fraction=0.2, stratify=stratify))
    assert data.class_names == ["a", "b", "c"]
    actual = names_by_split(data)
    assert {name: len(names) for name, names in actual.items()} == {"train": 42, "val": 6, "test": 12}
    assert sorted(flatten(actual.values())) == sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*.*"))
    for split in data.splits.values():
        assert [data.class_names[label] for label in split.labels] == [name[0] for name in split.names]
    if stratify:
        counts = {name: np.bincount(split.labels).tolist() for name, split in data.splits.items()}
        assert counts == {"val": [1, 2, 3], "test": [2, 4, 6], "train": [7, 14, 21]}


def test_images_in_folders_within_a_class_belong_to_it(tmp_path: Path) -> None:
    write_folder(tmp_path, {"cat": 5, "cat/small/very": 5, "dog": 10})
    data = open_data(ImageFolder(root=str(tmp_path)))
    assert data.class_names == ["cat", "dog"]
    labels = {n: int(y) for split in data.splits.values() for n, y in zip(split.names, split.labels, strict=True)}
    assert len(labels) == 20
    assert labels["cat/small/very/03.png"] == 0
    assert sum(labels.values()) == 10


def test_hidden_files_and_files_that_are_not_images_are_ignored(tmp_path: Path) -> None:
    write_folder(tmp_path, {"cat": 5, "dog": 5})
    (tmp_path / "cat" / "notes.txt").write_text("not a picture")
    (tmp_path / "cat" / "Thumbs.db").write_bytes(b"\0")
    (tmp_path / "dog" / "._00.png").write_bytes(b"what macOS leaves beside a file")
    (tmp_path / "README.md").write_text("about the data")
    write_folder(tmp_path, {".git": 1})
    data = open_data(ImageFolder(root=str(tmp_path)))
    assert data.class_names == ["cat", "dog"]
    assert sum(len(split) for split in data.splits.values()) == 10


def test_images_in_hidden_folders_within_a_class_are_ignored(tmp_path: Path) -> None:
    write_folder(tmp_path, {"cat": 5, "dog": 5, "dog/.thumbnails": 3, "cat/.ipynb_checkpoints": 2})
    data = open_data(ImageFolder(root=str(tmp_path)))
    assert sorted(flatten(names_by_split(data).values())) == [
        f"{c}/{n:02}.png" for c in ("cat", "dog") for n in range(5)
    ]


def test_images_of_many_sizes_are_decoded_to_the_networks_size_as_pillow_resizes(tmp_path: Path) -> None:
    write_folder(tmp_path, {"cat": 9, "dog": 9}, size=None)
    data = open_data(ImageFolder(root=str(tmp_path)), 16)
    assert data.shared_size is None
    for name, split in data.splits.items():
        for position, file in enumerate(split.names):
            image = Image.open(tmp_path / file).resize((16, 16), Image.Resampling.BILINEAR)
            assert_equal(data.images[name].pixels[position], chw(np.asarray(image)))


def test_images_that_share_one_small_size_are_kept_at_it(tmp_path: Path) -> None:
    write_folder(tmp_path, {"cat": 5, "dog": 5}, size=(6, 8))
    data = open_data(ImageFolder(root=str(tmp_path)), 32)
    assert data.image_shape == (3, 6, 8)
    for name, split in data.splits.items():
        for position, file in enumerate(split.names):
            assert_equal(data.images[name].pixels[position], chw(np.asarray(Image.open(tmp_path / file))))


def test_images_that_share_a_size_above_the_networks_are_decoded_to_the_networks(tmp_path: Path) -> None:
    write_folder(tmp_path, {"cat": 5, "dog": 5}, size=(20, 8))
    data = open_data(ImageFolder(root=str(tmp_path)), 16)
    file = data.splits["train"].names[0]
    image = Image.open(tmp_path / file).resize((16, 16), Image.Resampling.BILINEAR)
    assert_equal(data.images["train"].pixels[0], chw(np.asarray(image)))


def test_a_folder_of_grey_images_gives_one_channel(tmp_path: Path) -> None:
    write_folder(tmp_path, {"cat": 5, "dog": 5}, channels=1)
    data = open_data(ImageFolder(root=str(tmp_path)), 8)
    assert (data.in_channels, data.image_shape) == (1, (1, 6, 8))
    file = data.splits["test"].names[0]
    assert_equal(data.images["test"].pixels[0], np.asarray(Image.open(tmp_path / file))[None])


def test_one_colour_image_among_grey_ones_gives_three_channels(tmp_path: Path) -> None:
    write_folder(tmp_path, {"cat": 5, "dog": 5}, channels=1)
    save_image(tmp_path, "dog/colour.png", noise(6, 8, 3))
    assert open_data(ImageFolder(root=str(tmp_path)), 8).image_shape == (3, 6, 8)
    assert open_data(ImageFolder(root=str(tmp_path), channels=1), 8).image_shape == (1, 6, 8)


def test_an_image_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    write_folder(tmp_path, {"cat": 5, "dog": 5})
    (tmp_path / "cat" / "broken.png").write_bytes(b"no picture")
    whole = (tmp_path / "dog" / "00.png").read_bytes()
    cut_off = tmp_path / "dog" / "cut.png"
    cut_off.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError) as caught:
        open_data(ImageFolder(root=str(tmp_path)), 8)
    assert str(tmp_path / "cat" / "broken.png") in [problem.key for problem in caught.value.problems]
    (tmp_path / "cat" / "broken.png").unlink()
    with pytest.raises(UserError) as caught:
        open_data(ImageFolder(root=str(tmp_path)), 8)
    assert str(cut_off) in [problem.key for problem in caught.value.problems]


def test_all_problems_of_the_folders_are_in_one_error(tmp_path: Path) -> None:
    write_folder(tmp_path / "train", {"cat": 2, "dog": 2})
    write_folder(tmp_path / "test", {"cat": 1, "bird": 1})
    (tmp_path / "train" / "empty").mkdir()
    with pytest.raises(UserError) as caught:
        open_data(ImageFolder(root=str(tmp_path)))
    message = str(caught.value)
    assert len(caught.value.problems) == 2
    assert f"{tmp_path}/test/bird" in message
    assert f"{tmp_path}/train/empty" in message


def test_a_misspelt_class_of_a_given_split_is_named_and_another_class_is_not(tmp_path: Path) -> None:
    write_folder(tmp_path / "train", {"bird": 5, "cat": 9, "dog": 9})
    write_folder(tmp_path / "test", {"bird": 2, "cat": 3, "dgo": 3, "zebra": 3})
    with pytest.raises(UserError) as caught:
        open_data(ImageFolder(root=str(tmp_path), classes=["cat", "dog"]))
    (problem,) = caught.value.problems
    assert (problem.key, problem.remedy) == (f"{tmp_path}/test/dgo", "Did you mean dog?")
    (tmp_path / "test" / "dgo").rename(tmp_path / "test" / "dog")
    (tmp_path / "test" / "bird").rename(tmp_path / "test" / "dogs")  # beside it, a class that is left out
    assert len(open_data(ImageFolder(root=str(tmp_path), classes=["cat", "dog"])).splits["test"]) == 6


def test_images_of_classes_that_are_left_out_are_not_looked_for(tmp_path: Path) -> None:
    write_folder(tmp_path, {"bird": 3, "cat": 9, "dog": 9})
    seen: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        listing = list_images
        patch.setattr(image_folder, "list_images", lambda folder: seen.append(folder.name) or listing(folder))
        open_data(ImageFolder(root=str(tmp_path), classes=["cat", "dog"]))
    assert seen == ["cat", "dog"]
