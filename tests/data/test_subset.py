"""Selected classes and limits give the images that they promise."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Type, raises_user_error, train_into
from image_data import Coloured, flatten, names_by_split, open_data
from image_files import assert_equal, chw, noise, write_folder
from omegaconf import OmegaConf
from sklearn.datasets import load_digits

from viewfinder.data.sources.digits import Digits
from viewfinder.data.sources.image_folder import ImageFolder
from viewfinder.errors import UserError


def test_train_fraction_keeps_that_share_of_the_training_images_and_no_other() -> None:
    whole, half = names_by_split(open_data(Digits())), names_by_split(open_data(Digits(train_fraction=0.5)))
    assert abs(len(half["train"]) - len(whole["train"]) / 2) < 1
    assert set(half["train"]) < set(whole["train"])
    assert (half["val"], half["test"]) == (whole["val"], whole["test"])


def test_a_train_fraction_that_rounds_to_everything_keeps_everything(tmp_path: Path) -> None:
    write_folder(tmp_path, {"cat": 5, "dog": 5})
    whole = names_by_split(open_data(ImageFolder(root=str(tmp_path))))
    assert names_by_split(open_data(ImageFolder(root=str(tmp_path), train_fraction=0.99))) == whole


def test_limit_keeps_at_most_so_many_images_of_each_split() -> None:
    whole, part = (
        names_by_split(open_data(Digits(test_fraction=0.01))),
        names_by_split(open_data(Digits(test_fraction=0.01, limit=50))),
    )
    assert {name: len(names) for name, names in part.items()} == {"train": 50, "val": 50, "test": 18}
    assert all(set(part[name]) <= set(whole[name]) for name in whole)


@pytest.mark.parametrize("given", ["", "train"])
@pytest.mark.parametrize(
    "options", [{}, {"stratify": True}, {"train_fraction": 0.6, "limit": 9}, {"per_class": 4}], ids=str
)
def test_classes_give_what_a_folder_of_those_alone_gives(tmp_path: Path, given: str, options: dict[str, Any]) -> None:
    counts = {"bird": 20, "cat": 9, "dog": 14, "eel": 11, "fox": 7}
    write_folder(tmp_path / "all" / given, counts, size=None)
    if given:
        write_folder(tmp_path / "all" / "test", dict.fromkeys(counts, 3), size=None)
    shutil.copytree(tmp_path / "all", tmp_path / "some", ignore=shutil.ignore_patterns("bird", "eel"))
    some = open_data(ImageFolder(root=str(tmp_path / "some"), **options), 8)
    odd = tmp_path / "all" / given / "bird"
    (odd / "00.png").write_bytes(b"no picture")
    (odd.parent / "goat").mkdir()
    (odd.parent / "hen").symlink_to("nowhere")
    for classes in (["cat", "dog", "fox"], ["fox", "cat", "dog"]):
        actual = open_data(ImageFolder(root=str(tmp_path / "all"), classes=[*classes], **options), 8)
        assert actual.class_names == ["cat", "dog", "fox"]
        assert names_by_split(actual) == names_by_split(some)
        assert actual.summarise() == some.summarise()
        for split in ("train", "val", "test"):
            assert torch.equal(actual.images[split].labels, some.images[split].labels)
            assert torch.equal(actual.images[split].pixels, some.images[split].pixels)


def test_digits_that_are_named_as_numbers_or_text_are_scikit_learns() -> None:
    data, digits = open_data(Digits(classes=[8, "3"]), 8), load_digits()
    assert data.class_names == ["3", "8"]
    places = np.flatnonzero(np.isin(digits.target, (3, 8)))
    assert sorted(flatten(names_by_split(data).values())) == [f"digits/{place:04}" for place in places]
    for name, split in data.splits.items():
        numbers = [int(item.removeprefix("digits/")) for item in split.names]
        assert [(3, 8)[label] for label in split.labels] == digits.target[numbers].tolist()
        assert_equal(data.images[name].pixels, np.round(digits.images[numbers] * 255 / 16)[:, None])


def test_a_users_source_supports_classes_and_limits_per_class() -> None:
    data = open_data(Coloured(classes=["c", "a"], per_class=5), 8)
    assert data.class_names == ["a", "c"]
    assert {int(name) % 3 for name in flatten(names_by_split(data).values())} == {0, 2}
    assert data.summarise()["class_counts"] == [5, 5]
    assert data.summarise()["split_sizes"] == {"train": 10, "val": 12, "test": 12}
    for name, image in zip(data.splits["train"].names, data.images["train"].pixels, strict=True):
        assert_equal(image, chw(noise(90, 8, 8, 3)[int(name)]))


def test_all_classes_that_are_not_there_are_named_with_what_was_meant(tmp_path: Path) -> None:
    write_folder(tmp_path, {"bird": 5, "cat": 5, "dog": 5})
    with pytest.raises(UserError) as caught:
        open_data(ImageFolder(root=str(tmp_path), classes=["dgo", "cat", "unicorn"]))
    (problem,) = caught.value.problems
    assert problem.key == "data.classes"
    assert problem.received == "[dgo,cat,unicorn]"
    assert problem.rule == "unknown class dgo. Did you mean dog?\nunknown class unicorn."
    assert problem.remedy == "Classes: bird, cat, dog."


@pytest.mark.parametrize(("classes", "message"), [(["cat"], "fewer than two"), ([1, 2, "1"], "lists 1 twice")])
def test_classes_that_are_too_few_or_named_twice_are_refused_before_the_data_are_opened(
    classes: list[str | int], message: str
) -> None:
    with raises_user_error(message):
        ImageFolder(root="nowhere", classes=classes)


def draw_subset(tmp_path: Path, **options: Any) -> tuple[dict[str, list[str]], list[int]]:
    """Names of each split, and training images of each class, of 40 birds, 25 cats and 5 dogs."""
    if not tmp_path.joinpath("bird").is_dir():
        write_folder(tmp_path, {"bird": 40, "cat": 25, "dog": 5})
    data = open_data(ImageFolder(root=str(tmp_path), val_fraction=0.2, test_fraction=0.2, stratify=True, **options), 8)
    return names_by_split(data), data.summarise()["class_counts"]


def test_per_class_keeps_at_most_so_many_training_images_of_each_class_and_fewer_are_some_of_more(
    tmp_path: Path,
) -> None:
    whole, counts = draw_subset(tmp_path)
    assert counts == [24, 15, 3]
    before: set[str] = set()
    for most in (1, 2, 3, 10, 20, 24, 1000):
        actual, kept = draw_subset(tmp_path, per_class=most)
        assert kept == [min(most, count) for count in counts]
        assert (actual["val"], actual["test"]) == (whole["val"], whole["test"])
        assert before < set(actual["train"]) or most == 1000
        before = set(actual["train"])
    assert before == set(whole["train"])


def test_per_class_draws_at_random_from_the_split_seed_alone() -> None:
    def trained(run_seed: int, split_seed: int) -> list[str]:
        torch.manual_seed(run_seed)
        np.random.seed(run_seed)
        data = Digits(per_class=10, split_seed=split_seed)
        data.seed = run_seed
        return names_by_split(open_data(data))["train"]

    first = trained(0, 7)
    assert trained(1, 7) == first
    assert len(set(first) & set(trained(0, 8))) < 20  # of 100, some 10 by chance
    numbers = [int(name.removeprefix("digits/")) for name in first]
    assert 600 < np.mean(numbers) < 1200  # from all of 1,797, not the first of each class


def test_a_limit_leaves_as_many_training_images_of_each_class_and_fewer_are_still_some_of_more(
    tmp_path: Path,
) -> None:
    few, counts = draw_subset(tmp_path, per_class=2, limit=13)
    assert counts == [2, 2, 2]
    more, counts = draw_subset(tmp_path, per_class=10, limit=13)
    assert counts == [5, 5, 3]
    assert set(few["train"]) < set(more["train"])
    assert {name: len(names) for name, names in more.items()} == {"train": 13, "val": 13, "test": 13}


def test_per_class_takes_of_what_train_fraction_keeps(tmp_path: Path) -> None:
    part, _ = draw_subset(tmp_path, train_fraction=0.5)
    actual, counts = draw_subset(tmp_path, train_fraction=0.5, per_class=4)
    assert counts[:2] == [4, 4]
    assert set(actual["train"]) < set(part["train"])


def test_a_run_of_some_classes_is_evaluated_predicted_with_and_resumed_as_it_was_trained(
    pictures: Path, tmp_path: Path, tiny: list[str], viewfinder: Type
) -> None:
    wanted = ["data.classes=[owl,'<b>&x']", "data.per_class=6", "model=mlp", "model.widths=[8]"]
    once = train_into(tmp_path / "once", *tiny, *wanted, "trainer.max_epochs=3")
    run = train_into(tmp_path / "run", *tiny, *wanted)
    facts = run.read_data()
    assert (facts["class_names"], facts["class_counts"]) == (["<b>&x", "owl"], [6, 6])
    assert facts["split_sizes"] == {"train": 12, "val": 4, "test": 10}
    assert "fewer than" not in run.log.read_text(encoding="utf-8")
    for split in ("test", "val"):
        answer = viewfinder("evaluate", run.path, "--split", split)
        assert (answer.code, "Equal to scores.json." in answer.out) == (0, True)
    answer = viewfinder("predict", run.path, pictures / "test", "--csv", tmp_path / "said.csv")
    assert answer.code == 0
    heading = (tmp_path / "said.csv").read_text(encoding="utf-8").splitlines()[0]
    assert heading == "picture,predicted,p_<b>&x,p_owl"
    assert viewfinder("resume", run.path, "trainer.max_epochs=3").code == 0
    assert run.metrics.read_bytes() == once.metrics.read_bytes()
    assert run.predictions.read_bytes() == once.predictions.read_bytes()
    assert OmegaConf.load(run.config).data.per_class == 6


def test_a_run_logs_which_classes_have_fewer_images_than_requested(tmp_path: Path, tiny: list[str]) -> None:
    write_folder(tmp_path / "in" / "train", {"bird": 9, "cat": 4, "dog": 2})
    write_folder(tmp_path / "in" / "val", {"bird": 2, "cat": 2, "dog": 2})
    typed = ["model=mlp", "model.widths=[8]", f"data.root={tmp_path / 'in'}", "data.test_fraction=0.1"]
    run = train_into(tmp_path / "run", *tiny, *typed, "data.stratify=true", "data.per_class=5")
    counts = run.read_data()["class_counts"]
    few, least = sum(count < 5 for count in counts), min(counts)
    smallest = ("bird", "cat", "dog")[counts.index(least)]
    message = f"fewer than data.per_class=5 in {few} of 3 classes; the smallest, {smallest}, has {least}"
    lines = [line.partition("  ")[2] for line in run.log.read_text(encoding="utf-8").splitlines()]  # after the time
    assert message in " ".join(" ".join(lines).split())
