"""Oddly named images and classes end in readable files."""

import csv
import json
import os
import shutil
from pathlib import Path

import pytest
from conftest import QUICK, Type, train_into
from image_files import noise
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from viewfinder.data.decode_parallel import decode_all
from viewfinder.errors import UserError

ODD = [
    "new\nline", "quo\"te'`", os.fsdecode(b"caf\xe9"), "x" * 240, "--leading", "-", "\U0001f600", "$x^", "a,b;c\t|",
    "\x1b[31mred", "<script>", "%s{}", "[bold]", ":smile:", " ", "a=b", "\u65e5\u672c", "null", "\u202eright-to-left",
]  # fmt: skip


TEXTS = (".csv", ".json", ".html", ".yaml", ".log")


@pytest.fixture(scope="module")
def oddly_named(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A class of each odd name, and in each of them an image of each."""
    root = tmp_path_factory.mktemp("odd")
    for label, name in enumerate(ODD):
        for number, inner in enumerate(ODD):
            path = root / name / f"{inner}.png"
            path.parent.mkdir(exist_ok=True)
            Image.fromarray(noise(4, 4, 3, seed=100 * label + number)).save(path, "png")
    return root


def test_training_on_oddly_named_images_and_classes_ends_in_files_that_can_be_read(
    oddly_named: Path, tmp_path: Path, viewfinder: Type, capsys: pytest.CaptureFixture[str]
) -> None:
    typed = ["data=image_folder", f"data.root={oddly_named}", "model.image_size=8", *QUICK, "trainer.max_epochs=1"]
    run = train_into(tmp_path / "run", *typed)
    assert capsys.readouterr().err == ""
    texts = {path.name: path.read_bytes().decode() for path in run.path.iterdir() if path.suffix in TEXTS}
    assert len(texts) >= 7
    names = json.loads(texts["data.json"])["class_names"]
    shown = {name: name.replace("\udce9", "\\xe9") for name in ODD}
    assert names == [shown[name] for name in sorted(ODD)]
    with run.predictions.open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["picture", "true", "predicted", *(f"p_{name}" for name in names)]
    images = {f"{shown[name]}/{shown[inner]}.png" for name in ODD for inner in ODD}
    assert len({row[0] for row in rows}) == len(rows) == round(0.2 * len(ODD) ** 2)
    assert {row[0] for row in rows} <= images
    assert all(row[0].startswith(f"{row[1]}/") for row in rows)
    assert "&lt;script&gt;" in texts["report.html"]
    assert "\x1b" not in texts["train.log"]
    events = EventAccumulator(str(run.path))
    events.Reload()
    assert "val/accuracy" in events.Tags()["scalars"]
    assert viewfinder("evaluate", run.path).out.rstrip().endswith("Equal to scores.json.")
    answer = viewfinder("predict", run.path, oddly_named / "--leading", "--csv", tmp_path / "p.csv")
    assert (answer.code, answer.err) == (0, "")
    assert "\x1b" not in answer.out
    assert ":smile:" in answer.out
    with (tmp_path / "p.csv").open(encoding="utf-8", newline="") as file:
        assert len(list(csv.reader(file))) == len(ODD) + 1


@pytest.mark.parametrize("name", [b"caf\xe9", "\N{CAT FACE}".encode()], ids=["not UTF-8", "emoji"])
def test_images_in_an_oddly_named_folder_are_trained_on_scored_and_trained_on_again(
    cats_and_dogs: Path, tmp_path: Path, viewfinder: Type, name: bytes
) -> None:
    root = shutil.copytree(cats_and_dogs, tmp_path / os.fsdecode(name))
    run = train_into(tmp_path / "run", "data=image_folder", f'data.root="{root}"', *QUICK, "trainer.max_epochs=1")
    assert run.read_settings()["data"]["root"] == str(root)
    for words in (["evaluate"], ["report"], ["compare"], ["resume", "trainer.max_epochs=2"]):
        answer = viewfinder(words[0], run.path, *words[1:])
        assert (answer.code, answer.err) == (0, "")
    assert len(run.read_metrics()) == 2


def test_oddly_named_broken_images_are_named_on_a_line_each(oddly_named: Path, tmp_path: Path) -> None:
    paths = [tmp_path / f"{name}.png" for name in ODD]
    for path in paths:
        path.write_bytes(b"no picture")
    problems = decode_all(paths, 3, (4, 4), "decoding")
    assert len(problems) == len(ODD)
    message = str(UserError("the images", list(problems.values()), max_listed=len(ODD)))
    assert len(message.encode().splitlines()) == 1 + 2 * len(ODD)
    assert "new\\x0aline.png" in message or "new\\nline.png" in message
    assert "caf\\xe9.png" in message
