"""Options that name a file to be written refuse a place that cannot be written before any work is done."""

import os
import threading
from pathlib import Path

import numpy as np
import pytest
from conftest import CLASSES, Type, on_one_line
from PIL import Image

from viewfinder.runs.folder import RunFolder


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    Image.fromarray(np.zeros((8, 8, 3), dtype=np.uint8)).save(path)
    return path


@pytest.mark.parametrize(
    ("place", "rule"),
    [
        ("missing/x.csv", "the folder {tmp}/missing does not exist"),
        ("folder", "is a folder, not a file"),
        ("photo.png/x.csv", "{tmp}/photo.png is a file"),
        ("~nobody-of-this-name/x.csv", "home directory"),
        ("loop", "oo many levels of symbolic links"),
    ],
)
def test_a_file_that_cannot_be_written_is_refused(
    viewfinder: Type, finished: RunFolder, photo: Path, tmp_path: Path, place: str, rule: str
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    before = sorted(tmp_path.rglob("*"))
    path = place if place.startswith("~") else tmp_path / place
    for words in (("predict", finished.path, photo, "--csv"), ("evaluate", finished.path, "--json"),
                  ("evaluate", finished.path, "--csv"), ("compare", finished.path, "--csv")):  # fmt: skip
        answer = viewfinder(*words, path)
        assert (answer.code, answer.out) == (2, "")
        assert rule.format(tmp=tmp_path) in " ".join(answer.err.split())
    assert sorted(tmp_path.rglob("*")) == before


def test_a_pipe_receives_the_table(viewfinder: Type, finished: RunFolder, photo: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    received: list[str] = []
    reader = threading.Thread(
        target=lambda: received.append((tmp_path / "pipe").read_text(encoding="utf-8")), daemon=True
    )
    reader.start()
    answer = viewfinder("predict", finished.path, photo, "--csv", tmp_path / "pipe")
    reader.join(timeout=600)
    assert answer.code == 0
    assert not reader.is_alive()
    assert received[0].splitlines()[0] == ",".join(["picture", "predicted", *_quoted_columns()])
    assert (tmp_path / "pipe").is_fifo()


def _quoted_columns() -> list[str]:
    return [f'"p_{name}"' if "," in name else f"p_{name}" for name in CLASSES]


def test_the_target_of_a_link_is_replaced_and_the_link_stays(
    viewfinder: Type, finished: RunFolder, photo: Path, tmp_path: Path
) -> None:
    (tmp_path / "old.csv").write_text("old")
    (tmp_path / "link.csv").symlink_to("old.csv")
    assert viewfinder("predict", finished.path, photo, "--csv", tmp_path / "link.csv").code == 0
    assert (tmp_path / "link.csv").is_symlink()
    assert (tmp_path / "old.csv").read_text(encoding="utf-8").startswith("picture,predicted")


def test_an_error_of_the_system_is_one_message(viewfinder: Type) -> None:
    answer = viewfinder("evaluate", "x" * 300)
    assert (answer.code, answer.out) == (2, "")
    assert "name too long" in on_one_line(answer.err)
