"""Class folders are in natural order, runs of earlier versions keep theirs, and names that look the same are told."""

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import QUICK, Type, assert_same_run, train_into
from image_data import names_by_split, open_data
from image_files import write_folder

from viewfinder.data.class_names import describe_similar, natural_key
from viewfinder.data.sources import image_folder
from viewfinder.data.sources.image_folder import ImageFolder
from viewfinder.errors import Stopped

NUMBERED = {"1": 9, "10": 5, "2": 7, "rare": 1}
OPTIONS = [
    "data=image_folder", "model=mlp", "model.widths=[8]", "model.image_size=8", "data.batch_size=4", *QUICK,
    "data.sampler=balanced",
]  # fmt: skip


@pytest.fixture
def earlier(monkeypatch: pytest.MonkeyPatch) -> Callable[[], Any]:
    """Sort class folders as earlier versions did, within a context."""

    @contextlib.contextmanager
    def sorting() -> Any:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(image_folder, "natural_key", str)
            yield

    return sorting


def test_numbers_in_names_are_sorted_by_their_value() -> None:
    names = ["a10", "a2", "a", "B", "a02", "10", "9", "a2b", "b1.10", "b1.9", "\N{SUPERSCRIPT TWO}"]
    expected = ["9", "10", "B", "a", "a02", "a2", "a2b", "a10", "b1.9", "b1.10", "\N{SUPERSCRIPT TWO}"]
    assert sorted(names, key=natural_key) == expected


def test_names_without_digits_stay_in_alphabetical_order() -> None:
    names = ["cat_dog", "\xe9l\xe9phant", "Zebra", "cat-dog", "cat", "ape", "cat dog"]
    assert sorted(names, key=natural_key) == sorted(names)


def test_class_folders_are_in_natural_order_and_splits_as_before(tmp_path: Path, earlier: Callable[[], Any]) -> None:
    root = str(write_folder(tmp_path, NUMBERED))
    data = open_data(ImageFolder(root=root))
    with earlier():
        before = open_data(ImageFolder(root=root))
    assert (data.class_names, before.class_names) == (["1", "2", "10", "rare"], ["1", "10", "2", "rare"])
    assert names_by_split(data) == names_by_split(before)
    for name, split in data.splits.items():
        folders = [image.partition("/")[0] for image in split.names]
        assert [data.class_names[label] for label in split.labels] == folders
        assert [before.class_names[label] for label in before.splits[name].labels] == folders


def test_a_run_of_an_earlier_version_keeps_its_order(
    tmp_path: Path, earlier: Callable[[], Any], viewfinder: Type, at_step: Callable[[int, Callable[[], Any]], None]
) -> None:
    def stop() -> None:
        raise Stopped(15)

    words = [*OPTIONS, f"data.root={write_folder(tmp_path / 'in', NUMBERED)}"]
    with earlier():
        whole = train_into(tmp_path / "whole", *words)
        at_step(5, stop)  # in the second epoch
        with contextlib.suppress(Stopped):
            train_into(tmp_path / "stopped", *words)
    assert whole.read_data()["class_names"] == ["1", "10", "2", "rare"]
    evaluated = viewfinder("evaluate", whole.path)
    assert (evaluated.code, "Equal to scores.json." in evaluated.out) == (0, True)
    resumed = viewfinder("resume", tmp_path / "stopped")
    assert resumed.code == 0, resumed.err
    assert_same_run(type(whole).open(tmp_path / "stopped"), whole)
    assert train_into(tmp_path / "new", *words).read_data()["class_names"] == ["1", "2", "10", "rare"]


def test_names_that_differ_in_case_alone_are_named() -> None:
    assert describe_similar(["cat", "Cat", "dog", "caf\xe9", "cafe\u0301"]) == [
        "'cat', 'Cat' are different classes, although their names are alike",
        "'caf\xe9', 'cafe\u0301' are different classes, although their names are alike",
    ]
    assert describe_similar(["cat", "dog"]) == []


def test_splits_of_other_names_are_named_in_the_report(tmp_path: Path) -> None:
    for name in ("training", "Validation", "Test"):
        write_folder(tmp_path / "in" / name, {"1": 4, "2": 4})
    run = train_into(tmp_path / "run", *OPTIONS, f"data.root={tmp_path / 'in'}", "trainer.max_epochs=1")
    named = "train split read from training/, val split read from Validation/"
    assert named in json.loads(run.data.read_text(encoding="utf-8"))["warnings"]
    assert named in run.report.read_text(encoding="utf-8")
