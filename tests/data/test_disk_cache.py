"""The disk cache never gives other pixels than the files."""

import ast
import errno
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from conftest import raises_user_error
from image_data import open_stored
from image_files import noise, save_image, write_album, write_folder

from viewfinder.data import decoder, disk_cache
from viewfinder.data.disk_cache import ImageCache
from viewfinder.data.resize import Resize
from viewfinder.runs.cache_dir import cache_folder


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return cache_folder() / "pictures"


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Numbers of images that were decoded for the cache."""
    counts: list[int] = []
    original = disk_cache.decode_all

    def count(paths: Any, *arguments: Any) -> Any:
        counts.extend([len(paths)] * bool(paths))
        return original(paths, *arguments)

    monkeypatch.setattr(disk_cache, "decode_all", count)
    return counts


def read(folder: Path, paths: list[Path]) -> np.ndarray:
    base, unreadable = ImageCache(folder).load(paths, 3, Resize(6, 8), "train", False)
    assert unreadable == {}
    return base.numpy()


def write_bmps(root: Path, seed: int = 0, count: int = 3) -> tuple[list[Path], np.ndarray]:
    """Write uncompressed images, whose files all have one size."""
    pixels = noise(count, 6, 8, 3, seed=seed)
    return [save_image(root, f"{number}.bmp", image) for number, image in enumerate(pixels)], pixels


def test_images_of_the_same_paths_sizes_and_times_with_other_pixels_are_decoded_again(
    cache: Path, tmp_path: Path
) -> None:
    paths, pixels = write_bmps(tmp_path / "images")
    assert np.array_equal(read(cache, paths), pixels)
    for path, image in zip(paths, pixels, strict=True):
        before = path.stat()
        save_image(path.parent, path.name, 255 - image)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        after = path.stat()
        assert (after.st_size, after.st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    assert np.array_equal(read(cache, paths), 255 - pixels)


def test_two_images_that_have_changed_places_are_decoded_again(cache: Path, tmp_path: Path) -> None:
    paths, pixels = write_bmps(tmp_path / "images", count=2)
    read(cache, paths)
    assert np.array_equal(read(cache, paths[::-1]), pixels[::-1])


def test_a_copy_of_the_images_elsewhere_uses_the_same_cache(cache: Path, tmp_path: Path, decoded: list[int]) -> None:
    for name in ("here", "there"):
        paths, pixels = write_bmps(tmp_path / name)
        assert np.array_equal(read(cache, paths), pixels)
    assert decoded == [3]


@pytest.mark.parametrize("package", ["viewfinder.data", "pillow", "pillow-heif", "torchcodec", "jpg"])
def test_another_version_of_what_decodes_decodes_again(
    cache: Path, tmp_path: Path, decoded: list[int], monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    paths, _ = write_bmps(tmp_path / "images")
    read(cache, paths)
    versions = dict(disk_cache.describe_decoder())
    assert package in versions
    monkeypatch.setattr(disk_cache, "describe_decoder", lambda: (*(versions | {package: "another"}).items(),))
    read(cache, paths)
    assert decoded == [3, 3]


def test_the_key_covers_every_module_that_decodes() -> None:
    folder = Path(decoder.__file__).parent
    found, waiting = set(), ["decode"]
    while waiting:
        found.add(name := waiting.pop())
        imports = [node for node in ast.walk(ast.parse((folder / f"{name}.py").read_text())) if _is_import(node)]
        names = {alias.name for node in imports for alias in node.names}  # type: ignore[attr-defined]
        modules = {getattr(node, "module", None) for node in imports} | names
        inner = {module.removeprefix("viewfinder.data.") for module in modules if module}
        waiting += [module for module in sorted(inner - found) if (folder / f"{module}.py").is_file()]
    assert {f"{name}.py" for name in found} == set(decoder.CODE)
    assert {"image_file", "levels"} < found


def _is_import(node: ast.AST) -> bool:
    return isinstance(node, ast.Import | ast.ImportFrom)


def test_a_file_that_changes_between_its_lookup_and_its_decoding_is_not_cached(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths, pixels = write_bmps(tmp_path / "images")
    original = disk_cache.decode_all

    def decode_another(*arguments: Any) -> Any:
        save_image(paths[1].parent, paths[1].name, 255 - pixels[1])
        return original(*arguments)

    monkeypatch.setattr(disk_cache, "decode_all", decode_another)
    assert np.array_equal(read(cache, paths)[1], 255 - pixels[1])
    monkeypatch.undo()
    save_image(paths[1].parent, paths[1].name, pixels[1])
    assert np.array_equal(read(cache, paths), pixels)


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: next(folder.glob("*.npy")).write_bytes(b"no array"),
        lambda folder: os.truncate(next(folder.glob("*.npy")), 200),
        lambda folder: next(folder.glob("*.json")).unlink(),
        lambda folder: next(folder.glob("*.json")).write_text("{"),
    ],
    ids=["another file", "cut off", "no index", "half an index"],
)
def test_a_damaged_cache_is_written_again(
    cache: Path, tmp_path: Path, decoded: list[int], damage: Callable[[Path], object]
) -> None:
    paths, pixels = write_bmps(tmp_path / "images")
    read(cache, paths)
    damage(cache)
    assert np.array_equal(read(cache, paths), pixels)
    assert np.array_equal(read(cache, paths), pixels)
    assert decoded == [3, 3]


def test_writing_to_the_images_does_not_change_the_cache(cache: Path, tmp_path: Path) -> None:
    paths, pixels = write_bmps(tmp_path / "images")
    for _ in range(2):
        base, _ = ImageCache(cache).load(paths, 3, Resize(6, 8), "train", False)
        assert np.array_equal(base, pixels)
        base.zero_()


def test_the_least_recently_used_images_are_removed_beyond_a_limit(
    cache: Path, tmp_path: Path, decoded: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk_cache, "MAX_FOLDER_BYTES", 3 * (3 * 6 * 8 * 3 + 128))
    albums = [write_bmps(tmp_path / str(seed), seed)[0] for seed in range(4)]
    for number, paths in enumerate(albums[:3]):
        read(cache, paths)
        key = next(path for path in cache.glob("*.json") if path.stat().st_mtime > 1e6)
        os.utime(key, (number, number))
    read(cache, albums[0])  # now the most recently used
    read(cache, albums[3])
    assert len(list(cache.glob("*.npy"))) == 3
    decoded.clear()
    for paths in (albums[0], albums[2], albums[3]):
        read(cache, paths)
    assert decoded == []
    read(cache, albums[1])
    assert decoded == [3]


def test_images_in_the_cache_do_not_take_the_room_of_their_next_use(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    album, size = write_album(tmp_path / "album"), 40 * 3 * 8 * 8
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=0))
    for free in (2 * size, size):
        monkeypatch.setattr(shutil, "disk_usage", lambda _, free=free: SimpleNamespace(free=free))
        assert open_stored(album, "auto").stored.storage == "disk"


def test_a_disk_without_room_is_refused_before_anything_is_removed_or_written(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read(cache, write_bmps(tmp_path / "few")[0])
    before = sorted(cache.iterdir())
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=100))
    with raises_user_error(r"cannot be written: No space left"):
        read(cache, write_bmps(tmp_path / "many", count=20)[0])
    assert sorted(cache.iterdir()) == before


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="no reservation on this system")
def test_the_disk_space_of_all_images_is_reserved_before_the_first_is_decoded(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths, pixels = write_bmps(tmp_path / "images", count=200)
    reserved: list[int] = []
    original = disk_cache.decode_all

    def measure(*arguments: Any) -> Any:
        reserved.extend(path.stat().st_blocks * 512 for path in cache.glob(".*.npy"))
        return original(*arguments)

    monkeypatch.setattr(disk_cache, "decode_all", measure)
    assert np.array_equal(read(cache, paths), pixels)
    assert len(reserved) == 1
    assert reserved[0] >= pixels.nbytes


@pytest.mark.parametrize(("number", "is_refused"), [(errno.ENOSPC, True), (errno.EOPNOTSUPP, False)])
def test_room_that_another_process_has_taken_is_refused_and_one_that_cannot_be_reserved_is_not(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, is_refused: bool
) -> None:
    def fail(*_: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "posix_fallocate", fail, raising=False)
    paths, pixels = write_bmps(tmp_path / "images")
    if not is_refused:
        assert np.array_equal(read(cache, paths), pixels)
        return
    with raises_user_error(r"cannot be written: No space left"):
        read(cache, paths)
    assert list(cache.iterdir()) == []


def test_all_splits_of_a_run_stay_however_large_they_are(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk_cache, "MAX_FOLDER_BYTES", 10)
    data = open_stored(write_album(tmp_path / "album"), "disk")
    assert len(list(cache.glob("*.npy"))) == 3
    assert "removed" not in data.stored.location
    data = open_stored(write_folder(tmp_path / "other", {"a": 20, "b": 20}), "disk")
    assert len(list(cache.glob("*.npy"))) == 3
    assert "the least recently used" in data.stored.location
    assert torch.equal(data.images["val"].pixels, open_stored(tmp_path / "other", "memory").images["val"].pixels)


def test_a_file_that_a_killed_process_left_unfinished_is_removed_after_a_day(cache: Path, tmp_path: Path) -> None:
    cache.mkdir(parents=True)
    for name, age in (("old", 2 * 24 * 3600), ("new", 60)):
        (cache / f".{name}.1.npy").touch()
        os.utime(cache / f".{name}.1.npy", (0, time.time() - age))
    read(cache, write_bmps(tmp_path / "images")[0])
    assert [path.name for path in cache.glob(".*.npy")] == [".new.1.npy"]
