"""Random splits are disjoint, complete and reproducible."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import raises_user_error
from image_data import names_by_split, open_data
from image_files import noise, write_folder

from viewfinder.data.sources.digits import Digits
from viewfinder.data.sources.image_folder import ImageFolder
from viewfinder.data.split import ImageRows, Rows, Split, complete_splits, split_randomly


def make_split(labels: list[int] | np.ndarray) -> Split:
    labels = np.array(labels, dtype=np.int64)
    return Split(np.array([f"p{n}" for n in range(len(labels))]), labels, np.arange(len(labels)))


def test_the_tutorials_training_images_are_cut_into_40000_and_10000() -> None:
    whole = make_split(np.arange(50_000) % 10)
    splits = split_randomly(whole, {"val": 0.2}, seed=42, stratify=False)
    assert {name: len(split) for name, split in splits.items()} == {"train": 40_000, "val": 10_000}
    together = np.concatenate([splits["train"].content, splits["val"].content])
    assert np.array_equal(np.sort(together), np.arange(50_000))
    assert 800 < np.bincount(splits["val"].labels).min() < np.bincount(splits["val"].labels).max() < 1200


@pytest.mark.parametrize("stratify", [False, True])
def test_a_cut_is_disjoint_complete_and_keeps_each_images_name_and_label(stratify: bool) -> None:
    whole = make_split(noise(137, top=5))
    splits = split_randomly(whole, {"val": 0.25, "test": 0.1}, seed=3, stratify=stratify)
    assert {name: len(split) for name, split in splits.items()} == {"val": 34, "test": 14, "train": 89}
    assert sorted(np.concatenate([split.content for split in splits.values()])) == list(range(137))
    for split in splits.values():
        assert split.names.tolist() == [f"p{place}" for place in split.content]
        assert split.labels.tolist() == whole.labels[np.asarray(split.content)].tolist()


def test_the_split_depends_on_nothing_but_the_split_seed() -> None:
    actual = []
    for run_seed in (0, 1):
        np.random.seed(run_seed)
        torch.manual_seed(run_seed)
        data = Digits(split_seed=7)
        data.seed = run_seed
        before = np.random.get_state()[1].copy(), torch.get_rng_state()
        actual.append(names_by_split(open_data(data)))
        assert np.array_equal(np.random.get_state()[1], before[0])
        assert torch.equal(torch.get_rng_state(), before[1])
    assert actual[0] == actual[1]
    others = [names_by_split(open_data(Digits(split_seed=seed))) for seed in (6, 8)]
    for other in others:
        # A cut of its own shares a fifth of the validation images, 72, give or take.
        assert 40 < len(set(other["val"]) & set(actual[0]["val"])) < 110


def assert_within_one(whole: Split, splits: dict[str, Split]) -> None:
    totals = np.bincount(whole.labels)
    for split in splits.values():
        ideal = totals * len(split) / len(whole)
        assert np.abs(np.bincount(split.labels, minlength=len(totals)) - ideal).max() <= 1 + 1e-9


@pytest.mark.parametrize("counts", [[50] * 10, [7] * 12, [3, 5, 8, 13, 21, 34], [100, 1], [2, 2, 2]])
def test_a_stratified_split_has_each_classs_share_within_one_image(counts: list[int]) -> None:
    for seed in range(10):
        whole = make_split(np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts)))
        assert_within_one(whole, split_randomly(whole, {"val": 0.2, "test": 0.2}, seed, stratify=True))


def test_a_stratified_split_has_each_classs_share_beside_many_rare_classes() -> None:
    whole = make_split(np.repeat(np.arange(21), [1000] + [1] * 20))
    assert_within_one(whole, split_randomly(whole, {"val": 0.2, "test": 0.2}, 0, stratify=True))


@pytest.mark.parametrize(
    ("options", "head"),
    [
        ({"train_fraction": 0.001}, "data.train_fraction = 0.001"),
        ({"val_fraction": 0.01}, "data.val_fraction, data.test_fraction = 0.01, 0.2"),
    ],
)
def test_a_share_that_leaves_a_split_empty_is_named_with_its_value(
    options: dict[str, Any], head: str, tmp_path: Path
) -> None:
    write_folder(tmp_path, {"cat": 5, "dog": 5})
    with raises_user_error(f"{head} leaves (train|val) without images"):
        open_data(ImageFolder(root=str(tmp_path), **options))


def test_a_split_that_would_be_empty_is_refused(tmp_path: Path) -> None:
    write_folder(tmp_path, {"cat": 1, "dog": 1})
    with raises_user_error("leaves val and test without images: there are only 2 to divide"):
        open_data(ImageFolder(root=str(tmp_path)))


def test_a_given_split_without_images_is_refused_before_training(tmp_path: Path) -> None:
    write_folder(tmp_path / "train", {"bird": 5, "cat": 5, "dog": 5})
    write_folder(tmp_path / "test", {"bird": 5})
    assert len(open_data(ImageFolder(root=str(tmp_path))).splits["test"]) == 5
    with raises_user_error(r"the test split has no images"):
        open_data(ImageFolder(root=str(tmp_path), classes=["cat", "dog"]))


def test_splits_of_one_tensor_share_it() -> None:
    data = open_data(Digits(), 8)
    bases = {pictures.rows.base.data_ptr() for pictures in data.images.values()}
    assert len(bases) == 1


def test_given_splits_are_kept_and_missing_ones_are_drawn_from_training() -> None:
    given = {"train": make_split(list(range(40))), "test": make_split([1, 2, 3])}
    splits = complete_splits(given, {"val": 0.25, "test": 0.5}, seed=0, stratify=False)
    assert list(splits) == ["train", "val", "test"]
    assert splits["test"] is given["test"]
    assert sorted([*splits["train"].labels, *splits["val"].labels]) == list(range(40))
    assert len(splits["val"]) == 10


@pytest.mark.parametrize("stratify", [False, True])
def test_each_class_keeps_a_training_image_and_the_classes_that_a_split_lacks_are_named(
    tmp_path: Path, stratify: bool
) -> None:
    write_folder(tmp_path, {"a": 20, "b": 20, "one": 1, "two": 2})
    for seed in range(12):
        part = {"limit": 6} if seed % 2 else {"train_fraction": 0.4}
        data = open_data(ImageFolder(root=str(tmp_path), split_seed=seed, stratify=stratify, **part), 8)
        counts = {name: np.bincount(split.labels, minlength=4) for name, split in data.splits.items()}
        assert counts["train"].all()
        absent = {
            name: [data.class_names[k] for k in range(4) if not count[k]]
            for name, count in counts.items()
            if not count.all()
        }
        facts = data.summarise()
        assert facts["absent_classes"] == absent
        for split, names in absent.items():
            assert any(", ".join(names) in line and split in line for line in facts["warnings"])


def test_a_cut_that_leaves_each_class_in_training_is_as_it_was() -> None:
    whole = make_split(np.arange(100) % 5)
    fractions = {"val": 0.2, "test": 0.2}
    expected = split_randomly(whole, fractions, 3, False)
    actual = complete_splits({"train": whole}, fractions, 3, False)
    assert {name: split.names.tolist() for name, split in actual.items()} == {
        name: expected[name].names.tolist() for name in ("train", "val", "test")
    }


def test_image_rows_keep_their_earlier_name() -> None:
    assert Rows is ImageRows
