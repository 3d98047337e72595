"""No two splits or folds share a group, and their sizes differ from the requested ones by at most a group."""

from collections.abc import Sequence

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from viewfinder.data.folds import draw_folds
from viewfinder.data.groups import divide_groups
from viewfinder.data.split import Split, complete_splits


def make_split(groups: Sequence[str], labels: Sequence[int]) -> Split:
    names = np.array([f"p{number}" for number in range(len(groups))], dtype=object)
    return Split(names, np.array(labels, np.int64), np.arange(len(groups)), np.array(groups, dtype=object))


def draw_images(count: int, is_pure: bool, seed: int) -> Split:
    """Draw images of `count` groups in 4 classes, in any order; each group of one class, or of several."""
    rng = np.random.default_rng(seed)
    numbers = rng.permutation(np.repeat(np.arange(count), rng.integers(1, 10, count)))
    labels = numbers % 4 if is_pure else rng.integers(0, 4, len(numbers))
    return make_split([f"g{number}" for number in numbers], labels.tolist())


def assert_whole_groups(pool: Split, parts: Sequence[Split]) -> None:
    assert pool.groups is not None
    found = [set(part.groups) for part in parts if part.groups is not None]
    assert sum(map(len, found)) == len(set(pool.groups))
    assert set.union(*found) == set(pool.groups)
    assert sorted(name for part in parts for name in part.names) == sorted(pool.names)


@settings(max_examples=1000, deadline=None)
@given(
    st.builds(draw_images, st.integers(5, 30), st.booleans(), st.integers(0, 2**32)),
    st.floats(0.05, 0.4),
    st.floats(0.05, 0.4),
    st.integers(2, 5),
    st.integers(0, 2**32),
    st.booleans(),
)
def test_splits_and_folds_of_random_manifests_keep_groups_whole_and_shares_within_a_group(
    pool: Split, val: float, test: float, folds: int, seed: int, stratify: bool
) -> None:
    splits = complete_splits({"train": pool}, {"val": val, "test": test}, seed, stratify)
    assert_whole_groups(pool, [*splits.values()])
    largest = np.unique(pool.groups, return_counts=True)[1].max()  # type: ignore[call-overload]
    for name, share in (("val", val), ("test", test)):
        assert len(splits[name]) > 0
        assert abs(len(splits[name]) - share * len(pool)) <= largest + 1e-3
    few = [name for name in ("val", "test") if len(set(splits[name].groups)) == 1]  # type: ignore[arg-type]
    excess = abs(len(splits["train"]) - (1 - val - test) * len(pool))
    assert excess <= largest * max(1, len(few)) + 1e-3
    of_image = draw_folds(pool, folds, seed, stratify)
    assert_whole_groups(pool, [pool.select(np.flatnonzero(of_image == fold)) for fold in range(folds)])
    sizes = np.bincount(of_image, minlength=folds)
    assert sizes.min() > 0
    assert np.abs(sizes - len(pool) / folds).max() <= largest


def test_groups_of_one_image_are_divided_like_images() -> None:
    pool = make_split([f"g{n}" for n in range(100)], [n % 2 for n in range(100)])
    splits = complete_splits({"train": pool}, {"val": 0.2, "test": 0.1}, 0, stratify=True)
    assert {name: len(split) for name, split in splits.items()} == {"train": 70, "val": 20, "test": 10}
    assert {name: int(split.labels.sum()) for name, split in splits.items()} == {"train": 35, "val": 10, "test": 5}


def test_training_has_an_image_of_each_class_where_groups_allow_it() -> None:
    groups = [f"g{n // 5}" for n in range(200)]
    labels = [n // 20 for n in range(200)]  # four groups of each class
    for seed in range(20):
        splits = complete_splits({"train": make_split(groups, labels)}, {"val": 0.3, "test": 0.3}, seed, False)
        assert len(set(splits["train"].labels)) == 10


def test_stratified_parts_have_about_the_same_share_of_each_class() -> None:
    rng = np.random.default_rng(0)
    groups = np.repeat([f"g{n}" for n in range(120)], rng.integers(1, 9, 120)).astype(object)
    labels = rng.integers(0, 3, 120)[np.unique(groups, return_inverse=True)[1]]
    folds = divide_groups(groups, labels, [1] * 5, np.random.RandomState(0), stratify=True)
    for label in range(3):
        counts = np.bincount(folds[labels == label], minlength=5)
        assert np.abs(counts - counts.mean()).max() <= 8  # the largest group


def test_the_division_is_the_same_on_every_machine() -> None:
    """The expected parts were computed once; a change of them changes every run of this seed."""
    pool = make_split(list("aabbbcddeeffffgg"), [0, 1] * 8)
    splits = complete_splits({"train": pool}, {"val": 0.25, "test": 0.2}, 42, stratify=True)
    assert {name: "".join(dict.fromkeys(split.groups)) for name, split in splits.items()} == {
        "train": "abcd",
        "val": "fg",
        "test": "e",
    }  # type: ignore[arg-type]
    assert draw_folds(pool, 3, 42, stratify=False).tolist() == [2, 2, 1, 1, 1, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2]
