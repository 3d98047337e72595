"""Streamed images are read when they are needed."""

import errno
import multiprocessing
import os
import resource
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from conftest import raises_user_error
from image_data import collect_batches, open_stored
from image_files import write_album

from viewfinder.data import stream


def test_an_image_that_breaks_is_named_when_a_stream_comes_to_it(tmp_path: Path) -> None:
    album = write_album(tmp_path / "album")
    data = open_stored(album, "stream", workers=1, val_fraction=0.1, test_fraction=0.1)
    for path in album.rglob("*.png"):
        path.write_bytes(path.read_bytes()[:40])
    with raises_user_error(r"\.png cannot be read|\.png unsupported or corrupt"):
        collect_batches(data, "train", 0)


@pytest.mark.parametrize(
    "obstacle",
    ["", "shared memory is full", "little shared memory would be left", "the path of a socket is too long"],
)
def test_images_arrive_the_same_with_and_without_shared_memory(
    obstacle: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("unable to allocate shared memory(shm) for file </torch_1>: No space left on device (28)")

    album = write_album(tmp_path / "album")
    in_memory = collect_batches(open_stored(album, "memory"), "train", 0)
    if obstacle == "shared memory is full":
        monkeypatch.setattr(torch.Tensor, "share_memory_", fail)
    if obstacle == "little shared memory would be left":
        monkeypatch.setattr(stream.shutil, "disk_usage", lambda _: SimpleNamespace(total=2**20, free=2**19))
    if obstacle == "the path of a socket is too long":
        folder = tmp_path / ("x" * 120)
        folder.mkdir()
        monkeypatch.setitem(multiprocessing.current_process()._config, "tempdir", str(folder))  # type: ignore[attr-defined]
    data = open_stored(album, "stream", workers=2)
    chunk = next(iter(data.train_dataloader()))
    assert chunk.images.rows.base.is_shared() == (not obstacle)
    for ours, theirs in zip(collect_batches(data, "train", 0), in_memory, strict=True):
        assert (ours[0], ours[2]) == (theirs[0], theirs[2])
        assert torch.equal(ours[1], theirs[1])


@pytest.mark.parametrize(
    ("number", "rule"),
    [
        (errno.ENOSPC, r"cannot be created in /dev/shm:\s+No space left on device"),
        (errno.EMFILE, r"needs 26 open files for its 1 process in each split"),
    ],
)
def test_a_machine_without_room_for_workers_is_refused_before_one_starts(
    number: int, rule: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(multiprocessing, "Queue", fail)
    with raises_user_error(rule):
        open_stored(write_album(tmp_path / "album"), "stream", workers=1)


@pytest.mark.skipif(sys.platform != "linux", reason="counts the files in /proc")
def test_the_limit_of_open_files_is_named_and_many_workers_fit_below_it(tmp_path: Path) -> None:
    album, limits = write_album(tmp_path / "album"), resource.getrlimit(resource.RLIMIT_NOFILE)
    lower = len([*Path("/proc/self/fd").iterdir()]) + 90
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (lower, limits[1]))
        open_stored(album, "stream", workers=5)  # 3 x (5 + 2) queues and 4 x 5 pipes, of 2 files each
        with raises_user_error(rf"(?s)needs 292 open files.*the limit, which is {lower} files"):
            open_stored(album, "stream", workers=20)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
