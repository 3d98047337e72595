"""`viewfinder predict` on many images: rows as they come, and the same file after a stop."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from conftest import Answer, Type, noise, on_one_line
from PIL import Image

from viewfinder.cli import predict as command
from viewfinder.data.ahead import map_ahead
from viewfinder.evaluation import prediction_file
from viewfinder.evaluation.prediction_file import PredictionFile
from viewfinder.experiment import classify
from viewfinder.runs.folder import RunFolder


class Killed(BaseException):
    """Stand-in for SIGKILL: nothing is saved or cleaned up after it."""


@pytest.fixture
def album(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of 30 images, three of them unreadable, that are classified four at a time."""
    monkeypatch.setattr(classify, "CPU_BATCH_SIZE", 4)
    monkeypatch.setattr(classify, "FILES_PER_CALL", 2)
    (tmp_path / "album").mkdir()
    for index in range(30):
        path = tmp_path / "album" / f"{index:02}.png"
        Image.fromarray(noise(9, 9, 3, seed=index)).save(path)
        if index in (5, 6, 29):
            path.write_bytes(path.read_bytes()[:50])
    return tmp_path / "album"


@pytest.fixture
def whole(finished: RunFolder, viewfinder: Type, album: Path, tmp_path: Path) -> bytes:
    """The predictions of a call that nothing stops."""
    answer = viewfinder("predict", finished.path, album, "--csv", tmp_path / "whole.csv")
    assert answer.code == 2  # three images are unreadable
    return (tmp_path / "whole.csv").read_bytes()


def stop_at(monkeypatch: pytest.MonkeyPatch, batch: int, error: BaseException) -> None:
    """Raise an error after the rows of a batch are written, before they are recorded."""
    append, count = PredictionFile.append, 0

    def append_and_stop(file: PredictionFile, *arguments: object) -> None:
        nonlocal count
        count += 1
        if count == batch:
            file.saved_at = float("inf")  # not recorded
        append(file, *arguments)  # type: ignore[arg-type]
        if count == batch:
            raise error

    monkeypatch.setattr(PredictionFile, "append", append_and_stop)


@pytest.fixture
def interrupted(
    finished: RunFolder, viewfinder: Type, album: Path, whole: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Answer:
    """Answer of a call that writes rows.csv and is stopped by Ctrl-C in its third batch."""
    with monkeypatch.context() as patch:
        stop_at(patch, 3, KeyboardInterrupt())
        return viewfinder("predict", finished.path, album, "--csv", tmp_path / "rows.csv")


@pytest.mark.parametrize("batch", [1, 2, 3, 7, 8])
@pytest.mark.parametrize("seconds", [0, 100])
def test_a_killed_call_continues_and_ends_with_the_same_file(
    finished: RunFolder,
    viewfinder: Type,
    album: Path,
    whole: bytes,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    batch: int,
    seconds: int,
) -> None:
    monkeypatch.setattr(prediction_file, "SAVE_SECONDS", seconds)
    words = ("predict", finished.path, album, "--csv", tmp_path / "rows.csv")
    with monkeypatch.context() as patch:
        stop_at(patch, batch, Killed())
        with pytest.raises(Killed):
            viewfinder(*words)
    assert not (tmp_path / "rows.csv").exists()
    with (tmp_path / "rows.csv.partial").open("ab") as file:
        file.write(b"half a row")
    answer = viewfinder(*words)
    assert answer.code == 2
    for name in ("05.png", "06.png", "29.png"):
        assert name in answer.err
    assert (tmp_path / "rows.csv").read_bytes() == whole
    assert [path.name for path in tmp_path.glob("rows*")] == ["rows.csv"]


def test_ctrl_c_tells_how_far_it_came_and_the_same_command_continues_there(
    finished: RunFolder, viewfinder: Type, album: Path, whole: bytes, interrupted: Answer, tmp_path: Path
) -> None:
    assert interrupted.code == 130
    assert "stopped after 12 of 30 images; the same command continues" in on_one_line(interrupted.err)
    answer = viewfinder("predict", finished.path, album, "--csv", tmp_path / "rows.csv")
    assert "continue after 12 of 30 images" in on_one_line(answer.err)
    assert answer.out.count(".png") == 17
    assert "... and 10 from before in" in answer.out  # two of 12 are unreadable
    assert (tmp_path / "rows.csv").read_bytes() == whole


def test_rows_of_other_images_or_weights_are_not_continued(
    finished: RunFolder, viewfinder: Type, album: Path, interrupted: Answer, tmp_path: Path
) -> None:
    assert (tmp_path / "rows.csv.partial").exists()
    (album / "00.png").rename(album / "aa.png")
    answer = viewfinder("predict", finished.path, album, "--csv", tmp_path / "rows.csv")
    assert "continue" not in answer.err
    assert (
        "rows.csv.partial had rows of 12 images from a stopped call with another model or other images"
        in on_one_line(answer.err)
    )
    names = [Path(name).name for name in pd.read_csv(tmp_path / "rows.csv")["picture"]]
    assert names == sorted(set(names))
    assert len(names) == 27


def test_parquet_has_the_rows_of_csv(
    finished: RunFolder, viewfinder: Type, album: Path, whole: bytes, tmp_path: Path
) -> None:
    for words in (["--output", tmp_path / "a.parquet"], ["--output", tmp_path / "b", "--format", "parquet"]):
        assert viewfinder("predict", finished.path, album, *words).code == 2
        pd.testing.assert_frame_equal(pd.read_parquet(words[1]), pd.read_csv(tmp_path / "whole.csv"))
    answers = [
        viewfinder("predict", finished.path, album, "--output", tmp_path / "c.txt", *words)
        for words in ([], ["--format", "csv"])
    ]
    assert [f"{tmp_path / 'c.txt'} is written as CSV" in answer.err for answer in answers] == [True, False]
    assert (tmp_path / "c.txt").read_bytes() == whole


def test_options_that_contradict_are_refused(
    finished: RunFolder, viewfinder: Type, album: Path, tmp_path: Path
) -> None:
    both = viewfinder("predict", finished.path, album, "--csv", tmp_path / "a", "--output", tmp_path / "b")
    alone = viewfinder("predict", finished.path, album, "--format", "parquet")
    assert (both.code, alone.code) == (2, 2)
    assert "--csv" in both.err
    assert "--output" in alone.err


def test_a_file_has_all_images_and_the_terminal_the_first_ones(
    finished: RunFolder, viewfinder: Type, album: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "MAX_ROWS", 10)
    answer = viewfinder("predict", finished.path, album, "--csv", tmp_path / "rows.csv")
    assert answer.out.count(".png") == 10  # three batches, two of whose images are unreadable
    assert "... and 17 more images in" in answer.out
    assert "from before" not in answer.out
    answer = viewfinder("predict", finished.path, album)
    assert answer.out.count(".png") == 27


def test_images_without_a_readable_one_leave_no_file(finished: RunFolder, viewfinder: Type, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    assert viewfinder("predict", finished.path, tmp_path / "a.png", "--csv", tmp_path / "rows.csv").code == 2
    assert os.listdir(tmp_path) == ["a.png"]  # noqa: PTH208


def test_results_come_in_order_and_at_most_so_many_are_ahead_of_their_reader() -> None:
    started, lock = 0, threading.Lock()

    def square(number: int) -> int:
        nonlocal started
        with lock:
            started += 1
        return number**2

    results = map_ahead(square, iter(range(100)), threads=3, ahead=8)
    assert [next(results) for _ in range(5)] == [0, 1, 4, 9, 16]
    assert 5 <= started <= 5 + 8
    assert isinstance(results, Iterator)
    assert list(results) == [number**2 for number in range(5, 100)]
