"""Unreadable images are listed in one error, or left out of their splits."""

import csv
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import QUICK, Type, on_one_line, train_into
from image_data import collect_batches, names_by_split, open_stored
from image_files import chw, damage, jpeg_claiming, write_folder, write_mixed_folder
from PIL import Image

from viewfinder.errors import UserError


@pytest.mark.parametrize("storage", ["memory", "disk", "stream"])
def test_skipped_images_are_left_out_and_the_others_stay_in_the_splits_that_they_were_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, storage: str
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    root = write_mixed_folder(tmp_path / "root")
    before = names_by_split(open_stored(root, storage, workers=1))
    harmed = damage(root)
    for _ in range(2):  # the second time, what is on disk is used again
        data = open_stored(root, storage, workers=1, on_error="skip")
        expected = {split: [name for name in names if name not in harmed] for split, names in before.items()}
        assert names_by_split(data) == expected
        facts = data.summarise()
        assert sorted(item["picture"] for item in facts["skipped"]) == sorted(harmed)
        assert all(item["reason"] for item in facts["skipped"])
        assert facts["split_sizes"] == {split: len(names) for split, names in expected.items()}
        assert facts["class_counts"] == [sum(n.startswith(c) for n in expected["train"]) for c in ("cat", "dog")]
        for split, names in expected.items():
            pixels, labels = data.images[split].gather(torch.arange(len(names)))
            assert labels.tolist() == [int(name.startswith("dog")) for name in names]
            for name, image in zip(names, pixels, strict=True):
                resized = Image.open(root / name).resize((8, 8), Image.Resampling.BILINEAR)
                assert np.array_equal(image.numpy(), chw(np.asarray(resized)))
        seen = sorted(place for batch in collect_batches(data, "train", 0) for place in batch[0])
        assert seen == list(range(len(expected["train"])))


def test_the_fingerprint_is_that_of_the_images_that_are_left(tmp_path: Path) -> None:
    for split, count in (("train", 9), ("val", 3), ("test", 4)):
        write_folder(tmp_path / "a" / split, {"cat": count, "dog": count}, size=None)
        write_folder(tmp_path / "b" / split, {"cat": count, "dog": count}, size=None)
    for name in ("train/cat/03.png", "test/dog/00.png"):
        damage(tmp_path / "a", [name])
        (tmp_path / "b" / name).unlink()
    ours, theirs = open_stored(tmp_path / "a", "memory", on_error="skip"), open_stored(tmp_path / "b", "memory")
    assert ours.summarise() | {"skipped": []} == theirs.summarise()
    assert [name for name, _ in ours.skipped] == ["train/cat/03.png", "test/dog/00.png"]


def test_without_skipping_the_unread_images_of_all_splits_are_named_in_one_list(tmp_path: Path) -> None:
    for split in ("train", "val", "test"):
        write_mixed_folder(tmp_path / split, 6)
    broken = [
        f"{split}/{name}/0{n}.png" for split in ("train", "val", "test") for name in ("cat", "dog") for n in (1, 4)
    ]
    damage(tmp_path, broken[::2])
    for name in broken[1::2]:
        (tmp_path / name).write_bytes(b"no picture")
    with pytest.raises(UserError) as caught:
        open_stored(tmp_path, "memory")
    *named, conclusion = caught.value.problems
    assert [problem.key for problem in named] == [str(tmp_path / name) for name in broken]
    assert str(caught.value).startswith("12 unreadable images:\n")
    assert conclusion.rule == "12 of 36 images are unreadable"
    assert "data.on_error=skip" in conclusion.remedy
    assert all(str(tmp_path / name) in str(caught.value) for name in broken)


def test_one_unreadable_image_is_named_in_the_singular(tmp_path: Path) -> None:
    damage(write_mixed_folder(tmp_path, 6), ["cat/01.png"])
    with pytest.raises(UserError) as caught:
        open_stored(tmp_path, "memory")
    assert str(caught.value).startswith("1 unreadable image:\n")
    assert caught.value.problems[-1].rule == "1 of 12 images is unreadable"


def test_a_run_that_skips_images_logs_them_and_is_scored_again_without_them(
    tmp_path: Path, viewfinder: Type, capsys: pytest.CaptureFixture[str]
) -> None:
    root = write_mixed_folder(tmp_path / "root")
    whole = open_stored(root, "memory")
    broken = sorted(
        name for split, names in names_by_split(whole).items() for name in names[: 6 if split == "train" else 2]
    )
    damage(root, broken)
    typed = ["data=image_folder", f"data.root={root}", "data.on_error=skip", "model.image_size=8", *QUICK]
    run = train_into(tmp_path / "run", *typed, "data.storage=stream", "data.workers=1", "trainer.max_epochs=1")
    terminal, log = capsys.readouterr().out, run.log.read_text(encoding="utf-8")
    assert "10 unreadable images" in terminal
    assert sum(name in terminal for name in broken) == 5
    assert "and 5 more" in terminal
    assert all(name in log for name in broken)
    data = json.loads(run.data.read_text(encoding="utf-8"))
    assert sorted(item["picture"] for item in data["skipped"]) == broken
    with run.predictions.open(encoding="utf-8", newline="") as file:
        images = [row["picture"] for row in csv.DictReader(file)]
    assert images == [name for name in names_by_split(whole)["test"] if name not in broken]
    assert "10 unreadable, listed in data.json" in run.report.read_text(encoding="utf-8")
    for split in ("test", "val", "train"):
        answer = viewfinder("evaluate", run.path, "--split", split)
        assert answer.code == 0
        assert f"skipped  {6 if split == 'train' else 2} unreadable images" in answer.out
        if split != "train":
            assert "Equal to scores.json." in answer.out


def test_skipping_all_of_a_split_or_of_a_class_in_training_is_refused(tmp_path: Path) -> None:
    for split in ("train", "val", "test"):
        write_mixed_folder(tmp_path / split, 3)
    whole = {path: path.read_bytes() for path in tmp_path.rglob("*.png")}
    for lost, message in {
        "train/dog": "the train split has no readable images of dog",
        "val": "the val split has no readable images",
        "": "the test split has no readable images",
    }.items():
        for cut in (20, -70):  # in the header, and in the pixels
            for path, content in whole.items():
                path.write_bytes(content[:cut] if path.is_relative_to(tmp_path / lost) else content)
            with pytest.raises(UserError) as caught:
                open_stored(tmp_path, "memory", on_error="skip")
            assert message in on_one_line(caught.value)
    for path, content in whole.items():  # a class that a split other than training loses is no error
        path.write_bytes(content[:20] if path.is_relative_to(tmp_path / "val" / "dog") else content)
    assert open_stored(tmp_path, "memory", on_error="skip").summarise()["split_sizes"] == {
        "train": 6,
        "val": 3,
        "test": 6,
    }


def test_predict_names_every_file_that_it_cannot_read(tmp_path: Path, finished: Any, viewfinder: Type) -> None:
    root = write_mixed_folder(tmp_path / "root")
    os.mkfifo(root / "cat" / "pipe.png")
    (root / "cat" / "bomb.jpg").write_bytes(jpeg_claiming(65500, 65500))
    harmed = [*damage(root), "cat/pipe.png", "cat/bomb.jpg"]
    answer = viewfinder("predict", finished.path, root)
    assert answer.code == 2
    assert "7 problems" in on_one_line(answer.err)
    assert all(str(root / name) in answer.err for name in harmed)
    assert answer.out.count(".png") == 40 - 5
