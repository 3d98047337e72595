"""Data sets of Hugging Face's library are read as the library reads them, and what is wrong with them is named."""

import contextlib
import json
import shutil
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from conftest import QUICK, Type, assert_same_run, train_into
from huggingface_files import CLASSES, encode, make_dataset, make_rows, save, save_parquet
from image_data import open_data
from image_files import assert_equal, chw, noise

from viewfinder.data.sources import huggingface_library
from viewfinder.data.sources.huggingface import HuggingFace
from viewfinder.errors import Stopped, UserError
from viewfinder.runs.folder import RunFolder

OPTIONS = ["model=mlp", "model.widths=[8]", "model.image_size=8", "data.batch_size=8", *QUICK]


def refuse(path: Path | str, **options: Any) -> UserError:
    with pytest.raises(UserError) as caught:
        open_data(HuggingFace(path=str(path), **options), 8)
    return caught.value


def collect(data: Any) -> dict[str, tuple[np.ndarray, str]]:
    return {
        name: (image, data.class_names[label])
        for split in data.splits
        for name, image, label in zip(
            data.splits[split].names, data.images[split].pixels, data.splits[split].labels, strict=True
        )
    }


def assert_rows(found: dict[str, Any], split: str, count: int, seed: int) -> None:
    rows = make_rows(count, seed)
    for row in range(count):
        image, class_name = found.pop(f"{split}/{row:07}")
        assert_equal(image, chw(noise(8, 9, 3, seed=seed + row)))
        assert class_name == CLASSES[rows["label"][row]]


def test_a_saved_folder_has_its_images_in_its_own_splits_and_class_order(tmp_path: Path) -> None:
    data = open_data(HuggingFace(path=str(save(tmp_path / "saved"))), 8)
    assert data.class_names == CLASSES
    assert data.warnings == []
    found = collect(data)
    for split, count, seed in (("train", 30, 500), ("val", 9, 1000), ("test", 12, 400)):
        assert len(data.splits[split]) == count
        assert_rows(found, split, count, seed)
    assert found == {}


@pytest.mark.parametrize("is_file", [False, True])
def test_parquet_files_have_their_images_and_missing_splits_are_drawn(tmp_path: Path, is_file: bool) -> None:
    folder = save_parquet(tmp_path / "in")
    path = folder / "data" / "train-00000-of-00001.parquet" if is_file else folder
    data = open_data(HuggingFace(path=str(path), stratify=True), 8)
    assert data.drawn == (["val", "test"] if is_file else ["val"])
    found = collect(data)
    assert_rows(found, "train", 30, 500)
    if not is_file:
        assert_rows(found, "test", 12, 400)
    assert found == {}


def test_images_of_several_sizes_are_files_of_the_cache_that_are_written_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = str(save(tmp_path / "saved", is_mixed=True))
    data = open_data(HuggingFace(path=path), 8)
    files = sorted((tmp_path / "cache" / "viewfinder" / "huggingface").rglob("*.png"))
    assert len(files) == 51
    times = [file.stat().st_mtime_ns for file in files[2:]]
    rows = make_rows(30, 500, is_mixed=True)["image"]
    contents = data.splits["train"].content
    assert isinstance(contents, np.ndarray)
    assert [content.read_bytes() for content in contents] == [row["bytes"] for row in rows]
    files[0].write_bytes(b"")  # as after a power loss
    files[1].write_bytes(files[1].read_bytes()[:-1])
    again = open_data(HuggingFace(path=path), 8)
    assert [file.stat().st_mtime_ns for file in files[2:]] == times
    assert again.fingerprints() == data.fingerprints()
    assert isinstance(again.splits["test"].content, np.ndarray)
    assert [content.read_bytes() for content in again.splits["test"].content] == [
        row["bytes"] for row in make_rows(12, 400, is_mixed=True)["image"]
    ]


def test_columns_of_names_numbers_and_parquet_without_types_are_read_if_they_are_named(tmp_path: Path) -> None:
    rows = make_rows(24, 0)
    table = {
        "picture": rows["image"],
        "kind": [f"k{n % 3 + 9}" for n in range(24)],
        "age": [10 - n % 2 for n in range(24)],
    }
    pa.parquet.write_table(pa.table(table), tmp_path / "table.parquet")
    path = str(tmp_path / "table.parquet")
    assert open_data(HuggingFace(path=path, label_column="kind"), 8).class_names == ["k9", "k10", "k11"]
    assert open_data(HuggingFace(path=path, label_column="age", image_column="picture"), 8).class_names == ["9", "10"]
    (problem,) = refuse(path).problems
    assert (problem.key, "picture (dict)" in problem.remedy) == ("data.label_column", True)


@pytest.mark.slow
@pytest.mark.parametrize("is_mixed", [False, True])
def test_a_run_is_trained_evaluated_resumed_and_predicts(
    is_mixed: bool, tmp_path: Path, viewfinder: Type, at_step: Callable[[int, Callable[[], Any]], None]
) -> None:
    def stop() -> None:
        raise Stopped(15)

    words = [*OPTIONS, "data=huggingface", f"data.path={save(tmp_path / 'in', is_mixed)}"]
    whole = train_into(tmp_path / "whole", *words)
    at_step(6, stop)
    with contextlib.suppress(Stopped):
        train_into(tmp_path / "run", *words)
    evaluated = viewfinder("evaluate", whole.path)
    assert (evaluated.code, "Equal to scores.json." in evaluated.out) == (0, True)
    shutil.move(tmp_path / "in", tmp_path / "moved")
    resumed = viewfinder("resume", tmp_path / "run", f"data.path={tmp_path / 'moved'}")
    assert resumed.code == 0, resumed.err
    assert_same_run(RunFolder.open(tmp_path / "run"), whole)
    (tmp_path / "photo.png").write_bytes(encode(noise(30, 20, 3)))
    predicted = viewfinder("predict", whole.path, tmp_path / "photo.png")
    assert (predicted.code, any(name in predicted.out for name in CLASSES)) == (0, True)
    assert "Equal to scores.json." in viewfinder("evaluate", whole.path, f"data.path={tmp_path / 'moved'}").out


# What is wrong


def test_labels_that_are_missing_or_unknown_are_named_for_each_split(tmp_path: Path) -> None:
    parts = {name: make_rows(12, 100 * len(name)) for name in ("train", "validation", "test")}
    parts["train"]["label"][3] = -1
    parts["test"]["label"] = [-1] * 12
    datasets.DatasetDict({name: make_dataset(rows) for name, rows in parts.items()}).save_to_disk(tmp_path / "in")
    problems = {problem.key: problem.rule for problem in refuse(tmp_path / "in").problems}
    assert problems == {
        "the train split": "1 of 12 images have no label in the column label",
        "the test split": "12 of 12 images have no label in the column label",
    }


def test_labels_that_train_lacks_are_named_for_each_split(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name, labels in (("train", ["a", "b"]), ("validation", ["a", "c"]), ("test", ["d", "b"])):
        rows = make_rows(10, 0)
        pa.parquet.write_table(
            pa.table({"image": rows["image"], "name": labels * 5}), tmp_path / "in" / f"{name}.parquet"
        )
    problems = refuse(tmp_path / "in", label_column="name").problems
    assert [(problem.key, problem.rule) for problem in problems] == [
        ("the val split", "has labels that train lacks: c"), ("the test split", "has labels that train lacks: d"),
    ]  # fmt: skip


def test_columns_that_are_missing_or_of_another_type_in_one_split_are_named_for_it(tmp_path: Path) -> None:
    train, val, test = (make_dataset(make_rows(9, seed)) for seed in (0, 10, 20))
    val = val.rename_column("label", "kind")
    test = test.cast_column("label", datasets.Value("int64")).remove_columns("image").rename_column("id", "image")
    parts = {"train": train, "validation": val, "test": test}
    for name, part in parts.items():
        part.save_to_disk(tmp_path / "in" / name)
    (tmp_path / "in" / "dataset_dict.json").write_text(json.dumps({"splits": [*parts]}))
    problems = refuse(tmp_path / "in").problems
    assert [(problem.key, problem.rule) for problem in problems] == [
        ("the val split", "lacks the column label of train; its columns are image, kind, id"),
        ("the test split", "has the column image with values of another kind than train: string, not Image"),
        ("the test split", "has the column label with values of another kind than train: int64, not ClassLabel"),
    ]


def test_columns_that_are_missing_or_ambiguous_are_named_together(tmp_path: Path) -> None:
    rows = make_rows(4, 0)
    types = {"front": datasets.Image(), "back": datasets.Image(), "name": datasets.Value("string")}
    table = {"front": rows["image"], "back": rows["image"], "name": rows["id"]}
    datasets.Dataset.from_dict(table, features=datasets.Features(types)).save_to_disk(tmp_path / "in")
    problems = refuse(tmp_path / "in").problems
    assert [(problem.key, problem.rule) for problem in problems] == [
        ("data.image_column", "is needed, because front, back are of type Image"),
        ("data.label_column", "is needed, because no column is of type ClassLabel"),
    ]
    assert "name (string)" in problems[0].remedy
    problems = refuse(tmp_path / "in", image_column="fornt", label_column="back").problems
    assert [problem.rule for problem in problems] == ["Did you mean front?", "is a column of another type: Image"]


def test_rows_without_an_image_or_with_a_file_that_is_missing_are_named(tmp_path: Path) -> None:
    rows = make_rows(12, 0)
    rows["image"][2] = None
    rows["image"][5] = {"bytes": None, "path": "/nowhere/a.png"}
    rows["image"][6] = {"bytes": None, "path": "../b.png"}
    pa.parquet.write_table(pa.table({"image": rows["image"], "label": rows["label"]}), tmp_path / "in.parquet")
    first, second = refuse(tmp_path / "in.parquet", label_column="label").problems
    assert first.rule == "1 of 12 rows have no image: 2"
    assert second.rule.endswith("their files are outside data.path: /nowhere/a.png, ../b.png")


def test_files_that_rows_name_are_read_below_the_data_set_alone(tmp_path: Path) -> None:
    rows, folder = make_rows(30, 0), tmp_path / "in"
    folder.mkdir()
    (tmp_path / "private.png").write_bytes(rows["image"][3]["bytes"])
    for name in ("3", "4"):
        (folder / f"{name}.png").write_bytes(rows["image"][int(name)]["bytes"])
    inside = {3: folder / "3.png", 4: folder / "4.png"}

    def write(paths: dict[int, Path]) -> None:
        images = [{"bytes": None, "path": str(paths[n])} if n in paths else rows["image"][n] for n in range(30)]
        pa.parquet.write_table(pa.table({"image": images, "label": rows["label"]}), folder / "train.parquet")

    write(inside)
    data = open_data(HuggingFace(path=str(folder), label_column="label"), 8)
    assert_equal(collect(data)["train/0000003"][0], chw(noise(8, 9, 3, seed=3)))
    for path in (tmp_path / "private.png", folder / ".." / "private.png"):
        write(inside | {3: path, 4: folder / "5.png"})
        missing, outside = refuse(folder, label_column="label").problems
        assert missing.rule.endswith(f"their files are missing: {folder / '5.png'}")
        assert outside.rule.endswith(f"their files are outside data.path: {tmp_path / 'private.png'}")


def test_unreadable_images_are_named_by_split_and_row_or_skipped(tmp_path: Path) -> None:
    rows = make_rows(30, 0)
    rows["image"][4]["bytes"] = b"no image"
    rows["image"][7]["bytes"] = rows["image"][7]["bytes"][:60]
    make_dataset(rows).save_to_disk(tmp_path / "in")
    keys = [problem.key for problem in refuse(tmp_path / "in").problems]
    assert [Path(key).stem for key in keys[:2]] == ["0000004", "0000007"]
    data = open_data(HuggingFace(path=str(tmp_path / "in"), on_error="skip"), 8)
    assert {image.picture for image in data.skipped} == {"train/0000004", "train/0000007"}
    assert sum(map(len, data.splits.values())) == 28


def test_a_path_that_is_missing_empty_damaged_or_of_another_kind_is_one_error(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "photo.png").write_bytes(encode(noise(8, 8, 3)))
    (tmp_path / "cut.parquet").write_bytes(b"PAR1 and no more")
    damaged = save(tmp_path / "damaged")
    (damaged / "train" / "state.json").write_text("{")
    for name, rule in (
        ("absent", "does not exist"), ("photo.png", "is not a file of type"), ("empty", "cannot be read"),
        ("cut.parquet", "cannot be read"), ("damaged", "cannot be read"),
    ):  # fmt: skip
        (problem,) = refuse(tmp_path / name).problems
        assert problem.key == "data.path"
        assert problem.rule.startswith(rule)
        assert problem.remedy


def test_splits_are_chosen_by_name_and_others_are_said(tmp_path: Path) -> None:
    path = save(tmp_path / "in", full=30, validation=9, extra=6)
    assert "there is no split for training among full, validation, extra" in refuse(path).problems[0].rule
    data = open_data(HuggingFace(path=str(path), split_names={"train": "full", "test": "validation"}), 8)
    assert (data.drawn, len(data.splits["test"])) == (["val"], 9)
    assert data.warnings == ["not used: the splits extra; data.split_names chooses others"]
    problems = refuse(path, split_names={"train": "ful", "tset": "extra"}).problems
    assert ["Did you mean full?" in problem.rule or "tset" in problem.rule for problem in problems] == [True, True]
    (problem,) = refuse(path, split_names={"train": "full", "val": "full", "test": "extra"}).problems
    assert problem.rule == "gives train, val the same images: those of full"
    rule = refuse(save(tmp_path / "two", train=9, valid=3, validation=3)).problems[0].rule
    assert rule == "several splits may be val: train, valid, validation"


def test_a_name_without_a_network_is_one_error_and_without_download_nothing_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def connect(*_: Any, **__: Any) -> None:
        asked.append(1)
        raise OSError("no network")

    asked: list[int] = []
    monkeypatch.setattr(socket, "create_connection", connect)
    monkeypatch.setattr(socket, "getaddrinfo", connect)
    monkeypatch.setattr(time, "sleep", lambda _: None)  # between attempts to connect
    (problem,) = refuse("nobody/nothing", download=False).problems
    assert "is not in the library's cache, and data.download=false" in problem.rule
    assert asked == []
    (problem,) = refuse("nobody/nothing").problems
    assert "cannot be downloaded" in problem.rule
    assert "save_to_disk" in problem.remedy
    assert asked != []


def test_a_missing_library_is_said_before_anything_else(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise huggingface_library.importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(huggingface_library.importlib.metadata, "version", missing)
    with pytest.raises(UserError) as caught:
        HuggingFace(path="x")
    assert caught.value.problems[0].remedy == 'pip install "viewfinder[huggingface]"'
