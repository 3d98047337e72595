"""Images are the same wherever they are stored."""

import os
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Literal

import psutil
import pytest
import torch
from conftest import raises_user_error
from image_data import Coloured, Listed, collect_batches, open_data, open_stored
from image_files import noise, save_image, write_album, write_mixed_folder

from viewfinder.data.resize import Resize
from viewfinder.data.storage import store_images


@pytest.mark.parametrize("storage", ["disk", "stream"])
def test_every_storage_gives_the_same_batches(storage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    album = write_album(tmp_path / "album")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    ours, theirs = open_stored(album, storage, workers=2), open_stored(album, "memory")
    for split, epoch in (("train", 0), ("train", 3), ("val", 0), ("test", 0)):
        for mine, other in zip(collect_batches(ours, split, epoch), collect_batches(theirs, split, epoch), strict=True):
            assert mine[0] == other[0]
            assert mine[2] == other[2]
            assert torch.equal(mine[1], other[1])


def test_the_cache_on_disk_is_used_again_until_an_image_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    album = write_album(tmp_path / "album")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    first = open_stored(album, "disk").summarise()["fingerprint"]
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*.npy")}
    assert len(files) == 3
    assert (
        open_stored(album, "disk").summarise()["fingerprint"]
        == first
        == open_stored(album, "memory").summarise()["fingerprint"]
    )
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*.npy")} == files
    save_image(album / "cat", "00.png", noise(9, 9, 3, seed=999))
    changed = open_stored(album, "disk")
    assert changed.summarise()["fingerprint"] == open_stored(album, "memory").summarise()["fingerprint"] != first


def test_what_the_cache_lacks_is_tried_again_each_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file may not have been allowed to be read, which is no part of its content."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    root = write_mixed_folder(tmp_path / "root")
    path, whole = root / "cat" / "05.png", open_stored(root, "memory").summarise()
    content, facts = path.read_bytes(), path.stat()
    for bytes_now, skipped in (
        (bytes(len(content)), ["cat/05.png"]),
        (content, []),
        (bytes(len(content)), ["cat/05.png"]),
    ):
        path.write_bytes(bytes_now)
        os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))
        data = open_stored(root, "disk", on_error="skip")
        assert [name for name, _ in data.skipped] == skipped
    path.write_bytes(content)
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    assert open_stored(root, "disk").summarise()["fingerprint"] == whole["fingerprint"]


def test_a_broken_image_leaves_nothing_half_made_in_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    album = write_album(tmp_path / "album")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    whole = (album / "cat" / "03.png").read_bytes()
    (album / "cat" / "03.png").write_bytes(whole[: len(whole) * 2 // 3])
    with raises_user_error(r"03\.png"):
        open_stored(album, "disk")
    assert list((tmp_path / "cache").rglob(".*.npy")) == []


@pytest.mark.parametrize(
    ("memory", "disk", "chosen"),
    [(2.0, 0.0, "in memory"), (1.9, 2.0, "cache"), (1.9, 1.9, "decoded as needed")],
)
def test_images_are_stored_in_the_first_place_of_which_they_take_half(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, memory: float, disk: float, chosen: str
) -> None:
    album = write_album(tmp_path / "album")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    size = 40 * 3 * 8 * 8
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=memory * size))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=disk * size))
    assert chosen in open_stored(album, "auto").stored.location


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("free", "moved"), [(5.0, True), (4.9, False)])
def test_images_that_take_a_fifth_of_a_gpu_are_copied_there_once_for_all_splits(
    monkeypatch: pytest.MonkeyPatch, free: float, moved: bool, channels: Literal[1, 3]
) -> None:
    """On torch's meta device, where everything must lie that is computed with, though it has no numbers."""
    data = open_data(Coloured(channels=channels), 8)
    size = data.images["train"].rows.base.nbytes
    known = {"mem_get_info": (int(free * size) - 300, 0), "memory_reserved": 1000, "memory_allocated": 700}
    for name, value in known.items():
        monkeypatch.setattr(torch.cuda, name, lambda _, value=value: value)
    data.move_to_device(torch.device("cpu"))
    assert data.stored.location == "in memory"
    data.move_to_device(torch.device("meta"))
    assert ("on the GPU" in data.stored.location) == moved
    assert {item.device.type for item in data.stored.active_images.values()} == {"meta" if moved else "cpu"}
    assert {item.device.type for item in data.images.values()} == {"cpu"}
    assert len({id(item.rows.base) for item in data.stored.active_images.values()}) == 1
    for batches in (data.train_dataloader(), data.val_dataloader()):
        for chunk in batches:
            for batch in chunk.to(torch.device("meta")):
                assert {item.device.type for item in batch[:3]} == {"meta"}
                assert batch.pixels.shape == (len(batch.labels), channels, 8, 8)


def test_a_users_source_only_needs_to_list_its_files(tmp_path: Path) -> None:
    album = write_album(tmp_path / "album")
    ours, theirs = open_data(Listed(root=album), 8), open_stored(album, "memory")
    for split in ("train", "val", "test"):
        assert torch.equal(ours.images[split].pixels, theirs.images[split].pixels)


def test_files_are_stored_without_a_data_module(tmp_path: Path) -> None:
    paths = sorted(write_album(tmp_path).rglob("*.png"))
    files = {"train": (paths, torch.arange(len(paths)))}
    stored = store_images(files, 3, Resize(8, 8), "memory")
    streamed = store_images(files, 3, Resize(8, 8), "stream", workers=1)
    assert (stored.image_shape, stored.unreadable) == ((3, 8, 8), {"train": {}})
    for ours, theirs in zip(
        stored.images["train"].gather(torch.tensor([5, 0])),
        streamed.images["train"].gather(torch.tensor([5, 0])),
        strict=True,
    ):
        assert torch.equal(ours, theirs)
