"""Folds are disjoint and complete, and depend on the seed alone; each in turn is the test split."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import raises_user_error
from image_data import Coloured, names_by_split, open_data
from image_files import noise

from viewfinder.data.folds import cut_fold, draw_folds, join_splits
from viewfinder.data.sources.digits import Digits
from viewfinder.data.split import ImageRows, Split
from viewfinder.errors import UserError


def make_split(count: int, start: int = 0, folds: list[str] | None = None) -> Split:
    names = np.array([f"p{number}" for number in range(start, start + count)], dtype=object)
    given = None if folds is None else np.array(folds, dtype=object)
    return Split(names, np.arange(count) % 3, np.arange(start, start + count), None, given)


@pytest.mark.parametrize("stratify", [False, True])
def test_folds_are_disjoint_and_complete_and_equal_in_size(stratify: bool) -> None:
    data = [open_data(Digits(folds=5, fold=fold, stratify=stratify)) for fold in range(5)]
    tests = [set(each.splits["test"].names) for each in data]
    assert sorted(map(len, tests)) == [359, 359, 359, 360, 360]
    assert len(set.union(*tests)) == 1797
    for each in data:
        assert {name: len(names) for name, names in names_by_split(each).items() if name != "test"} == {
            "train": 1797 - len(each.splits["test"]) - len(each.splits["val"]),
            "val": round(0.2 * (1797 - len(each.splits["test"]))),
        }
        together = [name for names in names_by_split(each).values() for name in names]
        assert len(set(together)) == len(together) == 1797
        assert each.drawn == ["val", "test"]
        if stratify:
            ideal = np.bincount(Digits().list_pictures()[1]["train"].labels) / 5
            assert np.abs(np.bincount(each.splits["test"].labels) - ideal).max() < 1 + 1e-9


def test_folds_depend_on_the_split_seed_alone() -> None:
    pool = make_split(60)
    first = draw_folds(pool, 4, 7, stratify=False)
    np.random.seed(1)
    torch.manual_seed(1)
    assert draw_folds(pool, 4, 7, stratify=False).tolist() == first.tolist()
    assert 5 < (draw_folds(pool, 4, 8, stratify=False) == first).sum() < 30  # a quarter, give or take


def test_the_folds_of_a_seed_are_the_same_on_every_machine() -> None:
    """The expected folds were computed once; a change of them changes every cross-validation of this seed."""
    assert draw_folds(make_split(12), 3, 42, stratify=False).tolist() == [2, 0, 0, 2, 1, 2, 0, 1, 1, 1, 2, 0]
    assert draw_folds(make_split(12), 3, 42, stratify=True).tolist() == [2, 0, 0, 1, 0, 2, 0, 1, 2, 1, 2, 1]


def test_training_and_validation_images_are_divided_and_the_sources_test_split_stays_unread() -> None:
    source = {"train": make_split(20), "val": make_split(10, 20), "test": make_split(5, 30)}
    found = []
    for fold in range(3):
        splits, facts = cut_fold(source, 3, fold, 0, stratify=False)
        assert (facts["images"], facts["unused_test_images"]) == (30, 5)
        assert not set(splits["train"].names) & set(splits["test"].names)
        assert len(splits["train"]) + len(splits["test"]) == 30
        found += splits["test"].names.tolist()
    assert sorted(found) == sorted(f"p{number}" for number in range(30))


def test_given_folds_are_taken_in_their_natural_order() -> None:
    names = ["f10", "f2", "f1"]
    source = {"train": make_split(30, folds=names * 10)}
    for fold, name in enumerate(["f1", "f2", "f10"]):
        splits, facts = cut_fold(source, 3, fold, 0, stratify=False)
        assert facts["fold_name"] == name
        assert splits["test"].names.tolist() == [f"p{n}" for n in range(30) if names[n % 3] == name]
    with raises_user_error("differs from the number of folds in the data, 3: f1, f2, f10") as caught:
        cut_fold(source, 5, 0, 0, stratify=False)
    assert caught.value.problems[0].remedy == "Set data.folds=3."


def test_images_in_memory_are_joined_with_or_without_a_shared_tensor() -> None:
    base = torch.from_numpy(noise(6, 2, 2, 1))
    names = np.array(list("abcdef"), dtype=object)
    whole = Split(names, np.arange(6), ImageRows(base))
    shared = join_splits([whole.select(np.array([3, 1])), whole.select(np.array([5]))])
    apart = join_splits([
        Split(names[:2], np.arange(2), ImageRows(base[:2].clone())),
        Split(names[2:], np.arange(2, 6), ImageRows(base[2:].clone())),
    ])  # fmt: skip
    assert (shared.names.tolist(), shared.labels.tolist()) == (["b", "d", "f"], [1, 3, 5])
    assert isinstance(shared.content, ImageRows)
    assert isinstance(apart.content, ImageRows)
    assert shared.content.base is base
    assert shared.content.indices.tolist() == [1, 3, 5]
    assert torch.equal(apart.content.base[apart.content.indices], base)


def test_a_users_source_takes_folds() -> None:
    tests = [set(open_data(Coloured(folds=3, fold=fold), 8).splits["test"].names) for fold in range(3)]
    assert len(set.union(*tests)) == 90 == sum(map(len, tests))


def test_more_folds_than_images_or_groups_are_refused() -> None:
    with raises_user_error("leaves folds without images: there are only 3 images to divide"):
        draw_folds(make_split(3), 4, 0, stratify=False)
    grouped = replace(make_split(6), groups=np.array(list("aabbcc")))
    with raises_user_error("there are only 3 groups to divide"):
        draw_folds(grouped, 4, 0, stratify=False)


@pytest.mark.parametrize(
    ("folds", "fold", "key", "rule"),
    [
        (None, 1, "data.fold", "has no effect without data.folds"),
        (1, 0, "data.folds", "must be 2 or more"),
        (5, 5, "data.fold", "must be less than data.folds, 5"),
    ],
)
def test_a_fold_that_does_not_exist_is_refused(folds: int | None, fold: int, key: str, rule: str) -> None:
    with pytest.raises(UserError) as caught:
        Digits(folds=folds, fold=fold, classes=["1", "1"])
    assert [(problem.key, problem.rule) for problem in caught.value.problems][1:] == [(key, rule)]
    assert caught.value.problems[0].key == "data.classes"
