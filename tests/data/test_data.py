"""Pictures are decoded, found, split, batched and augmented as Pillow, NumPy and scikit-learn say they should be."""

import hashlib
import io
import itertools
import json
import pickle
import shutil
import struct
import tarfile
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal, TypeVar

import numpy as np
import psutil
import pytest
import torch
from conftest import QUICK, Type, train_into
from omegaconf import OmegaConf
from PIL import Image
from sklearn.datasets import load_digits
from torch import Tensor
from torchvision.datasets import CIFAR10 as Archive  # noqa: N811

from viewfinder.data.augment import Basic
from viewfinder.data.batches import SplitImages, build_loader
from viewfinder.data.decode import SMALL_FILE, _decode_plain_jpegs, _read_small_file, decode_image, decode_images
from viewfinder.data.decode_parallel import decode_all
from viewfinder.data.files import find_images, list_images
from viewfinder.data.headers import find_common_shape, read_header
from viewfinder.data.module import ImageData
from viewfinder.data.order import EpochOrder
from viewfinder.data.seeding import generator
from viewfinder.data.sources import image_folder
from viewfinder.data.sources.cifar10 import CIFAR10
from viewfinder.data.sources.digits import Digits
from viewfinder.data.sources.image_folder import ImageFolder
from viewfinder.data.split import ImageRows, Split, split_randomly
from viewfinder.errors import Problem, UserError

T = TypeVar("T")
ORIENTATION = 0x0112
TURNS: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda a: a,
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: lambda a: np.swapaxes(a, 0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(np.swapaxes(a, 0, 1), 2),
    8: lambda a: np.rot90(a, 1),
}
"""What a stored picture looks like when it is shown as its EXIF orientation says (EXIF 2.32, tag 274)."""


def noise(*shape: int, seed: int = 0, top: int = 256, dtype: type = np.uint8) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, top, shape).astype(dtype)


def chw(array: np.ndarray) -> np.ndarray:
    """(H, W) or (H, W, C) -> (C, H, W)"""
    return array[None] if array.ndim == 2 else array.transpose(2, 0, 1)


def saved(folder: Path, name: str, picture: Image.Image | np.ndarray, **options: object) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(picture) if isinstance(picture, np.ndarray) else picture
    picture.save(path, **options)
    return path


def over_white(colour: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """(H, W, ...) levels seen through (H, W) alpha on white paper, in real numbers."""
    share = alpha.astype(float).reshape(*alpha.shape, *[1] * (colour.ndim - 2)) / 255
    return colour * share + 255 * (1 - share)


def assert_equal(found: Tensor, expected: np.ndarray, within: float = 0) -> None:
    assert found.dtype == torch.uint8
    assert tuple(found.shape) == expected.shape
    assert np.abs(found.numpy().astype(float) - expected).max() <= within


def flat(lists: Iterable[list[T]]) -> list[T]:
    return list(itertools.chain.from_iterable(lists))


# decode and look


def test_grey_and_colour_png_decode_to_their_very_levels(tmp_path: Path) -> None:
    grey, colour = noise(5, 7), noise(5, 7, 3, seed=1)
    assert_equal(decode_image(saved(tmp_path, "g.png", grey), 1), chw(grey))
    assert_equal(decode_image(saved(tmp_path, "c.png", colour), 3), chw(colour))


def test_a_grey_picture_asked_in_colour_repeats_its_levels(tmp_path: Path) -> None:
    grey = noise(5, 7)
    assert_equal(decode_image(saved(tmp_path, "g.png", grey), 3), np.repeat(chw(grey), 3, axis=0))


def test_a_colour_picture_asked_in_grey_has_the_luma_of_itu_601(tmp_path: Path) -> None:
    colour = noise(9, 7, 3)
    luma = colour @ np.array([0.299, 0.587, 0.114])
    assert_equal(decode_image(saved(tmp_path, "c.png", colour), 1), luma[None], within=0.51)


def test_a_palette_picture_shows_its_palettes_colours(tmp_path: Path) -> None:
    palette, places = noise(16, 3), noise(6, 8, seed=1, top=16)
    picture = Image.frombytes("P", (8, 6), places.tobytes())
    picture.putpalette(palette.tobytes())
    path = saved(tmp_path, "p.png", picture)
    assert_equal(decode_image(path, 3), chw(palette[places]))
    assert read_header(path) == ((6, 8), 3)


def test_a_palette_pictures_transparent_entry_is_white(tmp_path: Path) -> None:
    palette, places = noise(16, 3), noise(6, 8, seed=1, top=16)
    picture = Image.frombytes("P", (8, 6), places.tobytes())
    picture.putpalette(palette.tobytes())
    expected = palette.copy()
    expected[5] = 255
    assert_equal(decode_image(saved(tmp_path, "p.png", picture, transparency=5), 3), chw(expected[places]))


def test_cmyk_ink_becomes_the_light_that_is_left(tmp_path: Path) -> None:
    ink = noise(6, 5, 4).astype(float)
    path = saved(tmp_path, "c.tif", Image.frombytes("CMYK", (5, 6), ink.astype(np.uint8).tobytes()))
    assert_equal(decode_image(path, 3), chw((255 - ink[..., :3]) * (255 - ink[..., 3:]) / 255), within=1)
    assert read_header(path) == ((6, 5), 3)


def test_a_cmyk_jpeg_decodes_as_pillow_converts_it(tmp_path: Path) -> None:
    path = saved(tmp_path, "c.jpg", Image.frombytes("CMYK", (16, 8), noise(8, 16, 4).tobytes()))
    with Image.open(path) as opened:
        expected = np.asarray(opened.convert("RGB"))
    assert_equal(decode_image(path, 3), chw(expected))


@pytest.mark.parametrize("name", ["deep.png", "deep.tif", "deep.pgm"])
def test_sixteen_bits_become_eight_by_scaling(tmp_path: Path, name: str) -> None:
    levels = noise(6, 9, top=65536, dtype=np.uint16)
    levels[0, :2] = 0, 65535
    path = saved(tmp_path, name, levels)
    assert_equal(decode_image(path, 1), np.round(levels / 65535 * 255)[None], within=0)
    assert read_header(path) == ((6, 9), 1)


def test_a_big_endian_sixteen_bit_picture_is_grey_too(tmp_path: Path) -> None:
    levels = noise(6, 9, top=65536, dtype=np.uint16)
    picture = Image.frombytes("I;16B", (9, 6), levels.astype(">u2").tobytes())
    path = saved(tmp_path, "deep.tif", picture)
    assert_equal(decode_image(path, 1), np.round(levels / 257)[None])
    assert read_header(path) == ((6, 9), 1)


def test_sixteen_bit_files_with_levels_below_256_keep_them(tmp_path: Path) -> None:
    levels = noise(6, 9, dtype=np.uint16)
    assert_equal(decode_image(saved(tmp_path, "shallow.png", levels), 1), levels[None])


def test_one_bit_is_black_or_white(tmp_path: Path) -> None:
    bits = noise(6, 11, top=2).astype(bool)
    path = saved(tmp_path, "bits.png", Image.fromarray(bits))
    assert_equal(decode_image(path, 1), 255 * bits[None])
    assert read_header(path) == ((6, 11), 1)


@pytest.mark.parametrize("name", ["clear.png", "clear.tif"])
def test_rgba_is_seen_over_white(tmp_path: Path, name: str) -> None:
    pixels = noise(12, 10, 4)
    pixels[0, :2, 3] = 0, 255
    path = saved(tmp_path, name, pixels)
    assert_equal(decode_image(path, 3), chw(over_white(pixels[..., :3], pixels[..., 3])), within=1)
    assert decode_image(path, 3)[:, 0, 0].tolist() == [255, 255, 255]
    assert decode_image(path, 3)[:, 0, 1].tolist() == pixels[0, 1, :3].tolist()


def test_grey_with_alpha_is_seen_over_white_and_counts_as_grey(tmp_path: Path) -> None:
    pixels = noise(12, 10, 2)
    path = saved(tmp_path, "la.png", Image.frombytes("LA", (10, 12), pixels.tobytes()))
    assert_equal(decode_image(path, 1), over_white(pixels[..., 0], pixels[..., 1])[None], within=1)
    assert read_header(path) == ((12, 10), 1)


def test_a_grey_level_declared_transparent_is_white(tmp_path: Path) -> None:
    levels = noise(8, 8, top=4)
    path = saved(tmp_path, "key.png", levels, transparency=2)
    assert_equal(decode_image(path, 1), np.where(levels == 2, 255, levels)[None])


def test_a_sixteen_bit_level_declared_transparent_is_white(tmp_path: Path) -> None:
    levels = noise(8, 8, top=4, dtype=np.uint16) * 10_000
    path = saved(tmp_path, "key.png", levels)
    data = path.read_bytes()
    chunk = b"tRNS" + struct.pack(">H", 20_000)
    start = data.index(b"IDAT") - 4
    path.write_bytes(data[:start] + struct.pack(">I", 2) + chunk + struct.pack(">I", zlib.crc32(chunk)) + data[start:])
    assert_equal(decode_image(path, 1), np.where(levels == 20_000, 255, np.round(levels / 257))[None])


@pytest.mark.parametrize("orientation", TURNS)
@pytest.mark.parametrize("name", ["turned.png", "turned.jpg", "turned.tif", "turned.webp"])
def test_a_picture_is_turned_as_its_exif_orientation_says(tmp_path: Path, name: str, orientation: int) -> None:
    stored = np.kron(noise(2, 3, top=256), np.ones((16, 16), np.uint8))
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    options = {"webp": {"lossless": True}, "jpg": {"quality": 100}, "tif": {"compression": "tiff_lzw"}, "png": {}}
    path = saved(tmp_path, name, stored, exif=exif, **options[name.partition(".")[2]])
    expected = TURNS[orientation](stored)[None]
    assert_equal(decode_image(path, 1), expected, within=1 if name.endswith("jpg") else 0)
    assert read_header(path)[0] == expected.shape[1:]


@pytest.mark.parametrize("orientation", TURNS)
def test_an_uncompressed_tiff_is_turned_too(tmp_path: Path, orientation: int) -> None:
    stored = noise(4, 6)
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    assert_equal(decode_image(saved(tmp_path, "turned.tif", stored, exif=exif), 1), TURNS[orientation](stored)[None])


def test_an_animation_shows_its_first_frame(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (6, 4), colour) for colour in ("red", "lime", "blue")]
    path = saved(tmp_path, "moving.gif", frames[0], save_all=True, append_images=frames[1:])
    with Image.open(path) as opened:
        assert opened.n_frames == 3
    assert_equal(decode_image(path, 3), chw(np.full((4, 6, 3), (255, 0, 0))))
    assert read_header(path) == ((4, 6), 3)


@pytest.mark.parametrize(
    "name", ["two words.png", "line\nbreak.png", "#1 50%.png", "ünï-日本.png", "UPPER.PNG", "a.b.c.png", "quote\"'.png"]
)
def test_odd_file_names_are_read(tmp_path: Path, name: str) -> None:
    pixels = noise(4, 4, 3)
    path = tmp_path / name
    Image.fromarray(pixels).save(path, "png")
    assert find_images([tmp_path]) == [path]
    into = torch.empty(1, 4, 4, 3, dtype=torch.uint8)
    assert decode_all([path], 3, (4, 4), "decoding", into) == {}
    assert_equal(into[0], pixels)


def test_a_wanted_size_is_pillows_bilinear_resize_of_the_turned_picture(tmp_path: Path) -> None:
    stored = noise(20, 30, 3)
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    path = saved(tmp_path, "turned.png", stored, exif=exif)
    turned = Image.fromarray(np.ascontiguousarray(np.rot90(stored, -1)))
    expected = np.asarray(turned.resize((12, 8), Image.Resampling.BILINEAR))
    assert_equal(decode_image(path, 3, (8, 12)), chw(expected))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I;16"])
def test_look_and_decode_agree_on_every_mode(tmp_path: Path, mode: str) -> None:
    suffix = "tif" if mode in ("CMYK", "YCbCr") else "png"
    base = Image.fromarray(noise(6, 9, 3))
    path = saved(tmp_path, f"x.{suffix}", base.convert("L").convert(mode) if mode == "I;16" else base.convert(mode))
    size, channels = read_header(path)
    assert channels == (1 if mode in ("1", "L", "LA", "I;16") else 3)
    assert tuple(decode_image(path, channels).shape) == (channels, *size)


def test_common_shape_is_what_all_pictures_share(tmp_path: Path) -> None:
    grey, other = saved(tmp_path, "g.png", noise(4, 6)), saved(tmp_path, "h.png", noise(4, 7))
    colour = saved(tmp_path, "c.png", noise(4, 6, 3))
    assert find_common_shape([grey]) == (1, (4, 6), {})
    assert find_common_shape([grey, colour]) == (3, (4, 6), {})
    assert find_common_shape([grey, other]) == (1, None, {})


JPEGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "fine": {"quality": 100, "subsampling": 0},
    "coarse": {"quality": 1},
    "half": {"subsampling": 1},
    "progressive": {"progressive": True, "optimize": True},
    "restarts": {"restart_marker_rows": 1},
    "rgb": {"keep_rgb": True},
    "commented": {"comment": b"tiff:Orientation"},
    "turned": {"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"},
    "turned-by-xmp": {"xmp": b'<x xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/>'},
}


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(1, 1), (8, 8), (9, 30), (40, 23)])
def test_many_pictures_at_once_have_the_bits_of_each_alone(
    tmp_path: Path, channels: int, size: tuple[int, int]
) -> None:
    """JPEG files take a way of their own, by torchcodec; `decode` is Pillow's."""
    for number, (name, options) in enumerate(JPEGS.items()):
        for mode in ("RGB", "L") if name != "rgb" else ("RGB",):
            picture = Image.fromarray(noise(9 + 7 * number, 30 - number, 3, seed=number)).resize((40, 23))
            saved(tmp_path, f"{name}-{mode}.jpg", picture.convert(mode), **options)
    saved(tmp_path, "ink.jpg", Image.fromarray(noise(9, 9, 4), "CMYK"))
    saved(tmp_path, "one.JPEG", noise(1, 1, 3))
    saved(tmp_path, "large.jpg", noise(500, 700, 3), quality=100)
    Image.fromarray(noise(6, 6, 3)).save(tmp_path / "a-png-in-truth.jpg", "png")
    saved(tmp_path, "c.png", noise(6, 6, 3))
    paths = sorted(tmp_path.iterdir())
    assert (tmp_path / "large.jpg").stat().st_size > SMALL_FILE
    quick = {
        path.stem for path in _decode_plain_jpegs({path: _read_small_file(path) for path in paths}, channels, size)
    }
    plain = set(JPEGS) - {"commented", "turned", "turned-by-xmp"}
    assert quick == (
        {f"{name}-L" for name in plain - {"rgb"}} if channels == 1 else {f"{name}-RGB" for name in plain} | {"one"}
    )
    found = list(decode_images(paths, channels, size))
    assert len(found) == len(paths) == 24
    for path, picture in zip(paths, found, strict=True):
        assert isinstance(picture, Tensor), path
        assert torch.equal(picture, decode_image(path, channels, size)), path


def test_a_damaged_jpeg_is_read_or_refused_as_pillow_does(tmp_path: Path) -> None:
    whole = saved(tmp_path, "whole.jpg", noise(24, 40, 3, top=256), quality=60).read_bytes()
    rng = np.random.default_rng(5)
    refused = quick = 0
    for number in range(300):
        damaged = bytearray(whole)
        if number % 3 == 0:
            damaged = damaged[: rng.integers(0, len(whole))]
        for _ in range(number % 3):
            damaged[rng.integers(0, len(whole))] = rng.integers(0, 256)
        path = tmp_path / f"{number:03}.jpg"
        path.write_bytes(damaged)
        (found,) = decode_images([path], 3, (24, 40))
        quick += len(_decode_plain_jpegs({path: bytes(damaged)}, 3, (24, 40)))
        try:
            expected = decode_image(path, 3, (24, 40))
        except (OSError, SyntaxError, ValueError):
            assert isinstance(found, Problem), number
            refused += 1
        else:
            assert isinstance(found, Tensor), number
            assert torch.equal(found, expected), number
    assert 100 < refused < 300
    assert 0 < quick <= 300 - refused


def test_one_broken_picture_among_many_is_the_only_one_that_is_not_read(tmp_path: Path) -> None:
    paths = [saved(tmp_path, f"{number}.jpg", noise(8, 8, 3, seed=number)) for number in range(70)]
    paths[3].write_bytes(paths[3].read_bytes()[:300])
    paths[40].unlink()
    found = list(decode_images(paths, 3, (8, 8)))
    assert [place for place, each in enumerate(found) if isinstance(each, Problem)] == [3, 40]
    for path, picture in zip(paths, found, strict=True):
        assert isinstance(picture, Problem) or torch.equal(picture, decode_image(path, 3))


# A folder of pictures


def folder_of(root: Path, counts: dict[str, int], size: tuple[int, int] | None = (6, 8), channels: int = 3) -> Path:
    """root/<class>/<n>.png with so many pictures of noise; size None gives each a size of its own."""
    for label, (name, count) in enumerate(counts.items()):
        for number in range(count):
            shape = size or (5 + number % 7, 30 - label - number % 5)
            seed = 1000 * label + number
            shape = shape if channels == 1 else (*shape, channels)
            saved(root, f"{name}/{number:02}.png", noise(*shape, seed=seed))
    return root


def opened(data: ImageData, image_size: int | None = None) -> ImageData:
    data.open()
    if image_size:
        data.load(image_size)
    return data


def names_of(data: ImageData) -> dict[str, list[str]]:
    return {name: split.names.tolist() for name, split in data.splits.items()}


def test_given_splits_are_taken_as_they_are(tmp_path: Path) -> None:
    for split, count in (("train", 4), ("val", 2), ("test", 3)):
        folder_of(tmp_path / split, {"cat": count, "dog": count})
    data = opened(ImageFolder(root=str(tmp_path)), 8)
    assert data.class_names == ["cat", "dog"]
    for split, count in (("train", 4), ("val", 2), ("test", 3)):
        expected = [f"{split}/{name}/{n:02}.png" for name in ("cat", "dog") for n in range(count)]
        assert data.splits[split].names.tolist() == expected
        assert data.images[split].labels.tolist() == [0] * count + [1] * count
        for position, name in enumerate(expected):
            assert_equal(data.images[split].pixels[position], chw(np.asarray(Image.open(tmp_path / name))))


def test_a_missing_split_is_cut_from_training_alone(tmp_path: Path) -> None:
    folder_of(tmp_path / "train", {"cat": 10, "dog": 10})
    folder_of(tmp_path / "testing", {"cat": 3, "dog": 2})
    data = opened(ImageFolder(root=str(tmp_path), val_fraction=0.3))
    found = names_of(data)
    assert {name: len(names) for name, names in found.items()} == {"train": 14, "val": 6, "test": 5}
    assert sorted(found["train"] + found["val"]) == sorted(
        path.relative_to(tmp_path).as_posix() for path in (tmp_path / "train").rglob("*.png")
    )
    assert all(name.startswith("testing/") for name in found["test"])


@pytest.mark.parametrize("stratify", [False, True])
def test_classes_directly_in_the_root_are_cut_into_three_splits(tmp_path: Path, stratify: bool) -> None:
    folder_of(tmp_path, {"b": 20, "a": 10, "c": 30})
    data = opened(ImageFolder(root=str(tmp_path), val_fraction=0.1, test_fraction=0.2, stratify=stratify))
    assert data.class_names == ["a", "b", "c"]
    found = names_of(data)
    assert {name: len(names) for name, names in found.items()} == {"train": 42, "val": 6, "test": 12}
    assert sorted(flat(found.values())) == sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*.*"))
    for split in data.splits.values():
        assert [data.class_names[label] for label in split.labels] == [name[0] for name in split.names]
    if stratify:
        counts = {name: np.bincount(split.labels).tolist() for name, split in data.splits.items()}
        assert counts == {"val": [1, 2, 3], "test": [2, 4, 6], "train": [7, 14, 21]}


def test_pictures_in_folders_within_a_class_belong_to_it(tmp_path: Path) -> None:
    folder_of(tmp_path, {"cat": 5, "cat/small/very": 5, "dog": 10})
    data = opened(ImageFolder(root=str(tmp_path)))
    assert data.class_names == ["cat", "dog"]
    labels = {n: int(y) for split in data.splits.values() for n, y in zip(split.names, split.labels, strict=True)}
    assert len(labels) == 20
    assert labels["cat/small/very/03.png"] == 0
    assert sum(labels.values()) == 10


def test_hidden_files_and_files_that_are_no_pictures_are_passed_over(tmp_path: Path) -> None:
    folder_of(tmp_path, {"cat": 5, "dog": 5})
    (tmp_path / "cat" / "notes.txt").write_text("not a picture")
    (tmp_path / "cat" / "Thumbs.db").write_bytes(b"\0")
    (tmp_path / "dog" / "._00.png").write_bytes(b"what macOS leaves beside a file")
    (tmp_path / "README.md").write_text("about the data")
    folder_of(tmp_path, {".git": 1})
    data = opened(ImageFolder(root=str(tmp_path)))
    assert data.class_names == ["cat", "dog"]
    assert sum(len(split) for split in data.splits.values()) == 10


def test_pictures_in_hidden_folders_within_a_class_are_passed_over(tmp_path: Path) -> None:
    folder_of(tmp_path, {"cat": 5, "dog": 5, "dog/.thumbnails": 3, "cat/.ipynb_checkpoints": 2})
    data = opened(ImageFolder(root=str(tmp_path)))
    assert sorted(flat(names_of(data).values())) == [f"{c}/{n:02}.png" for c in ("cat", "dog") for n in range(5)]


def test_pictures_of_many_sizes_are_decoded_to_the_networks_size_as_pillow_resizes(tmp_path: Path) -> None:
    folder_of(tmp_path, {"cat": 9, "dog": 9}, size=None)
    data = opened(ImageFolder(root=str(tmp_path)), 16)
    assert data.shared_size is None
    for name, split in data.splits.items():
        for position, file in enumerate(split.names):
            picture = Image.open(tmp_path / file).resize((16, 16), Image.Resampling.BILINEAR)
            assert_equal(data.images[name].pixels[position], chw(np.asarray(picture)))


def test_pictures_that_share_one_small_size_are_kept_at_it(tmp_path: Path) -> None:
    folder_of(tmp_path, {"cat": 5, "dog": 5}, size=(6, 8))
    data = opened(ImageFolder(root=str(tmp_path)), 32)
    assert data.image_shape == (3, 6, 8)
    for name, split in data.splits.items():
        for position, file in enumerate(split.names):
            assert_equal(data.images[name].pixels[position], chw(np.asarray(Image.open(tmp_path / file))))


def test_pictures_that_share_a_size_above_the_networks_are_decoded_to_the_networks(tmp_path: Path) -> None:
    folder_of(tmp_path, {"cat": 5, "dog": 5}, size=(20, 8))
    data = opened(ImageFolder(root=str(tmp_path)), 16)
    file = data.splits["train"].names[0]
    picture = Image.open(tmp_path / file).resize((16, 16), Image.Resampling.BILINEAR)
    assert_equal(data.images["train"].pixels[0], chw(np.asarray(picture)))


def test_a_folder_of_grey_pictures_gives_one_channel(tmp_path: Path) -> None:
    folder_of(tmp_path, {"cat": 5, "dog": 5}, channels=1)
    data = opened(ImageFolder(root=str(tmp_path)), 8)
    assert (data.in_channels, data.image_shape) == (1, (1, 6, 8))
    file = data.splits["test"].names[0]
    assert_equal(data.images["test"].pixels[0], np.asarray(Image.open(tmp_path / file))[None])


def test_one_colour_picture_among_grey_ones_gives_three_channels(tmp_path: Path) -> None:
    folder_of(tmp_path, {"cat": 5, "dog": 5}, channels=1)
    saved(tmp_path, "dog/colour.png", noise(6, 8, 3))
    assert opened(ImageFolder(root=str(tmp_path)), 8).image_shape == (3, 6, 8)
    assert opened(ImageFolder(root=str(tmp_path), channels=1), 8).image_shape == (1, 6, 8)


def test_a_picture_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    folder_of(tmp_path, {"cat": 5, "dog": 5})
    (tmp_path / "cat" / "broken.png").write_bytes(b"no picture")
    whole = (tmp_path / "dog" / "00.png").read_bytes()
    cut_off = tmp_path / "dog" / "cut.png"
    cut_off.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError) as caught:
        opened(ImageFolder(root=str(tmp_path)), 8)
    assert str(tmp_path / "cat" / "broken.png") in [problem.key for problem in caught.value.problems]
    (tmp_path / "cat" / "broken.png").unlink()
    with pytest.raises(UserError) as caught:
        opened(ImageFolder(root=str(tmp_path)), 8)
    assert str(cut_off) in [problem.key for problem in caught.value.problems]


def test_all_that_is_wrong_with_the_folders_is_said_at_once(tmp_path: Path) -> None:
    folder_of(tmp_path / "train", {"cat": 2, "dog": 2})
    folder_of(tmp_path / "test", {"cat": 1, "bird": 1})
    (tmp_path / "train" / "empty").mkdir()
    with pytest.raises(UserError) as caught:
        opened(ImageFolder(root=str(tmp_path)))
    said = str(caught.value)
    assert len(caught.value.problems) == 2
    assert f"{tmp_path}/test/bird" in said
    assert f"{tmp_path}/train/empty" in said


# Splits


def pool(labels: list[int] | np.ndarray) -> Split:
    labels = np.array(labels, dtype=np.int64)
    return Split(np.array([f"p{n}" for n in range(len(labels))]), labels, np.arange(len(labels)))


def test_the_tutorials_training_pictures_are_cut_into_40000_and_10000() -> None:
    whole = pool(np.arange(50_000) % 10)
    splits = split_randomly(whole, {"val": 0.2}, seed=42, stratify=False)
    assert {name: len(split) for name, split in splits.items()} == {"train": 40_000, "val": 10_000}
    together = np.concatenate([splits["train"].content, splits["val"].content])
    assert np.array_equal(np.sort(together), np.arange(50_000))
    assert 800 < np.bincount(splits["val"].labels).min() < np.bincount(splits["val"].labels).max() < 1200


@pytest.mark.parametrize("stratify", [False, True])
def test_a_cut_is_disjoint_complete_and_keeps_each_pictures_name_and_label(stratify: bool) -> None:
    whole = pool(noise(137, top=5))
    splits = split_randomly(whole, {"val": 0.25, "test": 0.1}, seed=3, stratify=stratify)
    assert {name: len(split) for name, split in splits.items()} == {"val": 34, "test": 14, "train": 89}
    assert sorted(np.concatenate([split.content for split in splits.values()])) == list(range(137))
    for split in splits.values():
        assert split.names.tolist() == [f"p{place}" for place in split.content]
        assert split.labels.tolist() == whole.labels[np.asarray(split.content)].tolist()


def test_the_split_depends_on_nothing_but_the_split_seed() -> None:
    found = []
    for run_seed in (0, 1):
        np.random.seed(run_seed)
        torch.manual_seed(run_seed)
        data = Digits(split_seed=7)
        data.seed = run_seed
        before = np.random.get_state()[1].copy(), torch.get_rng_state()
        found.append(names_of(opened(data)))
        assert np.array_equal(np.random.get_state()[1], before[0])
        assert torch.equal(torch.get_rng_state(), before[1])
    assert found[0] == found[1]
    others = [names_of(opened(Digits(split_seed=seed))) for seed in (6, 8)]
    for other in others:
        # A cut of its own shares a fifth of the validation pictures, 72, give or take.
        assert 40 < len(set(other["val"]) & set(found[0]["val"])) < 110


def assert_within_one(whole: Split, splits: dict[str, Split]) -> None:
    totals = np.bincount(whole.labels)
    for split in splits.values():
        ideal = totals * len(split) / len(whole)
        assert np.abs(np.bincount(split.labels, minlength=len(totals)) - ideal).max() <= 1 + 1e-9


@pytest.mark.parametrize("counts", [[50] * 10, [7] * 12, [3, 5, 8, 13, 21, 34], [100, 1], [2, 2, 2]])
def test_a_stratified_split_has_each_classs_share_within_one_picture(counts: list[int]) -> None:
    for seed in range(10):
        whole = pool(np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts)))
        assert_within_one(whole, split_randomly(whole, {"val": 0.2, "test": 0.2}, seed, stratify=True))


def test_a_stratified_split_has_each_classs_share_beside_many_rare_classes() -> None:
    whole = pool(np.repeat(np.arange(21), [1000] + [1] * 20))
    assert_within_one(whole, split_randomly(whole, {"val": 0.2, "test": 0.2}, 0, stratify=True))


def test_train_fraction_keeps_that_share_of_the_training_pictures_and_no_other() -> None:
    whole, half = names_of(opened(Digits())), names_of(opened(Digits(train_fraction=0.5)))
    assert abs(len(half["train"]) - len(whole["train"]) / 2) < 1
    assert set(half["train"]) < set(whole["train"])
    assert (half["val"], half["test"]) == (whole["val"], whole["test"])


def test_a_train_fraction_that_rounds_to_everything_keeps_everything(tmp_path: Path) -> None:
    folder_of(tmp_path, {"cat": 5, "dog": 5})
    whole = names_of(opened(ImageFolder(root=str(tmp_path))))
    assert names_of(opened(ImageFolder(root=str(tmp_path), train_fraction=0.99))) == whole


@pytest.mark.parametrize(
    ("options", "head"),
    [
        ({"train_fraction": 0.001}, "data.train_fraction = 0.001"),
        ({"val_fraction": 0.01}, "data.val_fraction, data.test_fraction = 0.01, 0.2"),
    ],
)
def test_a_share_that_leaves_a_split_empty_is_named_with_its_value(
    options: dict[str, Any], head: str, tmp_path: Path
) -> None:
    folder_of(tmp_path, {"cat": 5, "dog": 5})
    with pytest.raises(UserError, match=f"{head}\n +leaves no images for"):
        opened(ImageFolder(root=str(tmp_path), **options))


def test_limit_keeps_at_most_so_many_pictures_of_each_split() -> None:
    whole, part = names_of(opened(Digits(test_fraction=0.01))), names_of(opened(Digits(test_fraction=0.01, limit=50)))
    assert {name: len(names) for name, names in part.items()} == {"train": 50, "val": 50, "test": 18}
    assert all(set(part[name]) <= set(whole[name]) for name in whole)


def test_a_split_that_would_be_empty_is_refused(tmp_path: Path) -> None:
    folder_of(tmp_path, {"cat": 1, "dog": 1})
    with pytest.raises(UserError, match="no images for val and test out of 2"):
        opened(ImageFolder(root=str(tmp_path)))


# Some of the classes, and few pictures of each


@pytest.mark.parametrize("given", ["", "train"])
@pytest.mark.parametrize(
    "options", [{}, {"stratify": True}, {"train_fraction": 0.6, "limit": 9}, {"per_class": 4}], ids=str
)
def test_classes_give_what_a_folder_of_those_alone_gives(tmp_path: Path, given: str, options: dict[str, Any]) -> None:
    counts = {"bird": 20, "cat": 9, "dog": 14, "eel": 11, "fox": 7}
    folder_of(tmp_path / "all" / given, counts, size=None)
    if given:
        folder_of(tmp_path / "all" / "test", dict.fromkeys(counts, 3), size=None)
    shutil.copytree(tmp_path / "all", tmp_path / "some", ignore=shutil.ignore_patterns("bird", "eel"))
    some = opened(ImageFolder(root=str(tmp_path / "some"), **options), 8)
    odd = tmp_path / "all" / given / "bird"
    (odd / "00.png").write_bytes(b"no picture")
    (odd.parent / "goat").mkdir()
    (odd.parent / "hen").symlink_to("nowhere")
    for classes in (["cat", "dog", "fox"], ["fox", "cat", "dog"]):
        found = opened(ImageFolder(root=str(tmp_path / "all"), classes=[*classes], **options), 8)
        assert found.class_names == ["cat", "dog", "fox"]
        assert names_of(found) == names_of(some)
        assert found.summarise() == some.summarise()
        for split in ("train", "val", "test"):
            assert torch.equal(found.images[split].labels, some.images[split].labels)
            assert torch.equal(found.images[split].pixels, some.images[split].pixels)


def test_pictures_of_classes_that_are_left_out_are_not_looked_for(tmp_path: Path) -> None:
    folder_of(tmp_path, {"bird": 3, "cat": 9, "dog": 9})
    seen: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        listing = list_images
        patch.setattr(image_folder, "list_images", lambda folder: seen.append(folder.name) or listing(folder))
        opened(ImageFolder(root=str(tmp_path), classes=["cat", "dog"]))
    assert seen == ["cat", "dog"]


def test_a_misspelt_class_of_a_given_split_is_named_and_another_class_is_not(tmp_path: Path) -> None:
    folder_of(tmp_path / "train", {"bird": 5, "cat": 9, "dog": 9})
    folder_of(tmp_path / "test", {"bird": 2, "cat": 3, "dgo": 3, "zebra": 3})
    with pytest.raises(UserError) as caught:
        opened(ImageFolder(root=str(tmp_path), classes=["cat", "dog"]))
    (problem,) = caught.value.problems
    assert (problem.key, problem.remedy) == (f"{tmp_path}/test/dgo", "Did you mean dog?")
    (tmp_path / "test" / "dgo").rename(tmp_path / "test" / "dog")
    (tmp_path / "test" / "bird").rename(tmp_path / "test" / "dogs")  # beside it, a class that is left out
    assert len(opened(ImageFolder(root=str(tmp_path), classes=["cat", "dog"])).splits["test"]) == 6


def test_digits_that_are_named_as_numbers_or_text_are_scikit_learns() -> None:
    data, digits = opened(Digits(classes=[8, "3"]), 8), load_digits()
    assert data.class_names == ["3", "8"]
    places = np.flatnonzero(np.isin(digits.target, (3, 8)))
    assert sorted(flat(names_of(data).values())) == [f"digits/{place:04}" for place in places]
    for name, split in data.splits.items():
        numbers = [int(each.removeprefix("digits/")) for each in split.names]
        assert [(3, 8)[label] for label in split.labels] == digits.target[numbers].tolist()
        assert_equal(data.images[name].pixels, np.round(digits.images[numbers] * 255 / 16)[:, None])


def test_some_classes_of_cifar10_have_its_own_pictures_in_its_own_order(tmp_path: Path, archive: bytes) -> None:
    data = opened(CIFAR10(root=str(tmp_path), classes=["truck", "cat", "bird"]), 32)
    assert data.class_names == ["bird", "cat", "truck"]
    pixels, labels = (np.concatenate(each) for each in zip(*(cifar_batch(n) for n in range(5)), strict=True))
    wanted = {f"train/{n:05}": (2, 3, 9).index(label) for n, label in enumerate(labels) if label in (2, 3, 9)}
    found: dict[str, int] = {}
    for split in ("train", "val"):
        names = data.splits[split].names.tolist()
        found |= dict(zip(names, data.splits[split].labels.tolist(), strict=True))
        numbers = [int(name.removeprefix("train/")) for name in names]
        assert_equal(data.images[split].pixels, pixels[numbers].reshape(-1, 3, 32, 32))
    assert found == wanted


def test_a_source_of_ones_own_gives_some_classes_and_few_pictures_too() -> None:
    data = opened(Coloured(classes=["c", "a"], per_class=5), 8)
    assert data.class_names == ["a", "c"]
    assert {int(name) % 3 for name in flat(names_of(data).values())} == {0, 2}
    assert data.summarise()["class_counts"] == [5, 5]
    assert data.summarise()["split_sizes"] == {"train": 10, "val": 12, "test": 12}
    for name, picture in zip(data.splits["train"].names, data.images["train"].pixels, strict=True):
        assert_equal(picture, chw(noise(90, 8, 8, 3)[int(name)]))


def test_all_classes_that_are_not_there_are_named_with_what_was_meant(tmp_path: Path) -> None:
    folder_of(tmp_path, {"bird": 5, "cat": 5, "dog": 5})
    with pytest.raises(UserError) as caught:
        opened(ImageFolder(root=str(tmp_path), classes=["dgo", "cat", "unicorn"]))
    (problem,) = caught.value.problems
    assert problem.key == "data.classes"
    assert problem.received == "[dgo,cat,unicorn]"
    assert problem.rule == "unknown class dgo. Did you mean dog?\nunknown class unicorn."
    assert problem.remedy == "Classes: bird, cat, dog."


@pytest.mark.parametrize(("classes", "said"), [(["cat"], "fewer than two"), ([1, 2, "1"], "lists 1 twice")])
def test_classes_that_are_too_few_or_named_twice_are_refused_before_the_data_are_opened(
    classes: list[str | int], said: str
) -> None:
    with pytest.raises(UserError, match=said):
        ImageFolder(root="nowhere", classes=classes)


def test_a_given_split_without_pictures_is_refused_before_training(tmp_path: Path) -> None:
    folder_of(tmp_path / "train", {"bird": 5, "cat": 5, "dog": 5})
    folder_of(tmp_path / "test", {"bird": 5})
    assert len(opened(ImageFolder(root=str(tmp_path))).splits["test"]) == 5
    with pytest.raises(UserError, match=r"the test split\n +has no images"):
        opened(ImageFolder(root=str(tmp_path), classes=["cat", "dog"]))


def drawn(tmp_path: Path, **options: Any) -> tuple[dict[str, list[str]], list[int]]:
    """Names of each split, and training pictures of each class, of 40 birds, 25 cats and 5 dogs."""
    if not tmp_path.joinpath("bird").is_dir():
        folder_of(tmp_path, {"bird": 40, "cat": 25, "dog": 5})
    data = opened(ImageFolder(root=str(tmp_path), val_fraction=0.2, test_fraction=0.2, stratify=True, **options), 8)
    return names_of(data), data.summarise()["class_counts"]


def test_per_class_keeps_at_most_so_many_training_pictures_of_each_class_and_fewer_are_some_of_more(
    tmp_path: Path,
) -> None:
    whole, counts = drawn(tmp_path)
    assert counts == [24, 15, 3]
    before: set[str] = set()
    for most in (1, 2, 3, 10, 20, 24, 1000):
        found, kept = drawn(tmp_path, per_class=most)
        assert kept == [min(most, count) for count in counts]
        assert (found["val"], found["test"]) == (whole["val"], whole["test"])
        assert before < set(found["train"]) or most == 1000
        before = set(found["train"])
    assert before == set(whole["train"])


def test_per_class_draws_at_random_from_the_split_seed_alone() -> None:
    def trained(run_seed: int, split_seed: int) -> list[str]:
        torch.manual_seed(run_seed)
        np.random.seed(run_seed)
        data = Digits(per_class=10, split_seed=split_seed)
        data.seed = run_seed
        return names_of(opened(data))["train"]

    first = trained(0, 7)
    assert trained(1, 7) == first
    assert len(set(first) & set(trained(0, 8))) < 20  # of 100, some 10 by chance
    numbers = [int(name.removeprefix("digits/")) for name in first]
    assert 600 < np.mean(numbers) < 1200  # from all of 1,797, not the first of each class


def test_a_limit_leaves_as_many_training_pictures_of_each_class_and_fewer_are_still_some_of_more(
    tmp_path: Path,
) -> None:
    few, counts = drawn(tmp_path, per_class=2, limit=13)
    assert counts == [2, 2, 2]
    more, counts = drawn(tmp_path, per_class=10, limit=13)
    assert counts == [5, 5, 3]
    assert set(few["train"]) < set(more["train"])
    assert {name: len(names) for name, names in more.items()} == {"train": 13, "val": 13, "test": 13}


def test_per_class_takes_of_what_train_fraction_keeps(tmp_path: Path) -> None:
    part, _ = drawn(tmp_path, train_fraction=0.5)
    found, counts = drawn(tmp_path, train_fraction=0.5, per_class=4)
    assert counts[:2] == [4, 4]
    assert set(found["train"]) < set(part["train"])


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


def test_a_run_says_of_which_classes_there_are_fewer_pictures_than_it_asks_for(tmp_path: Path, tiny: list[str]) -> None:
    folder_of(tmp_path / "in" / "train", {"bird": 9, "cat": 4, "dog": 2})
    folder_of(tmp_path / "in" / "val", {"bird": 2, "cat": 2, "dog": 2})
    typed = ["model=mlp", "model.widths=[8]", f"data.root={tmp_path / 'in'}", "data.test_fraction=0.1"]
    run = train_into(tmp_path / "run", *tiny, *typed, "data.stratify=true", "data.per_class=5")
    counts = run.read_data()["class_counts"]
    few, least = sum(count < 5 for count in counts), min(counts)
    smallest = ("bird", "cat", "dog")[counts.index(least)]
    said = f"fewer than data.per_class=5 in {few} of 3 classes; the smallest, {smallest}, has {least}"
    lines = [line.partition("  ")[2] for line in run.log.read_text(encoding="utf-8").splitlines()]  # after the time
    assert said in " ".join(" ".join(lines).split())


# CIFAR-10, in an archive of the real one's format


def python2_pickle(value: object) -> bytes:
    """What Python 2's cPickle wrote with protocol 2 in 2009: byte strings, and arrays by numpy.core.multiarray."""

    def string(text: bytes) -> bytes:
        return b"U" + bytes([len(text)]) + text if len(text) < 256 else b"T" + struct.pack("<i", len(text)) + text

    def whole(number: int) -> bytes:
        return b"K" + bytes([number]) if number < 256 else b"J" + struct.pack("<i", number)

    def written(item: object) -> bytes:
        if isinstance(item, bytes):
            return string(item)
        if isinstance(item, int):
            return whole(item)
        if isinstance(item, list):
            return b"](" + b"".join(map(written, item)) + b"e"
        if isinstance(item, dict):
            return b"}(" + b"".join(written(key) + written(each) for key, each in item.items()) + b"u"
        assert isinstance(item, np.ndarray)
        assert item.dtype == np.uint8
        made = b"cnumpy.core.multiarray\n_reconstruct\n" + b"cnumpy\nndarray\n" + b"K\0\x85" + string(b"b") + b"\x87R"
        kind = b"cnumpy\ndtype\n" + string(b"u1") + b"K\0K\x01\x87R" + b"(K\x03" + string(b"|") + b"NNN"
        kind += b"J\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb"
        shape = b"".join(map(whole, item.shape)) + b"\x86"
        return made + b"(K\x01" + shape + kind + b"\x89" + string(item.tobytes()) + b"tb"

    return b"\x80\x02" + written(value) + b"."


CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


def cifar_batch(seed: int, count: int = 20) -> tuple[np.ndarray, list[int]]:
    return noise(count, 3072, seed=seed), noise(count, seed=seed + 100, top=10).tolist()


class Server(HTTPServer):
    """Answers any request with `content`, on this machine alone, and counts them."""

    content = b""
    requests = 0

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.requests += 1
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.server.content)))
        self.end_headers()
        self.wfile.write(self.server.content)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def members() -> dict[str, bytes]:
    """The files of a CIFAR-10 of 5 x 20 + 20 pictures."""
    members = {}
    for number, name in enumerate([f"data_batch_{n}" for n in range(1, 6)] + ["test_batch"]):
        pixels, labels = cifar_batch(number)
        content = {b"data": pixels, b"labels": labels, b"batch_label": b"batch", b"filenames": [b"x.png"] * 20}
        members[name] = python2_pickle(content)
    members["batches.meta"] = python2_pickle({b"label_names": [name.encode() for name in CLASSES], b"num_vis": 3072})
    return members


def tar_of(members: dict[str, bytes], *others: tuple[tarfile.TarInfo, bytes]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, content in members.items():
            entry = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
        for entry, content in others:
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


@pytest.fixture
def archive(server: Server, monkeypatch: pytest.MonkeyPatch, members: dict[str, bytes]) -> bytes:
    """A cifar-10-python.tar.gz of those files, served at the address that torchvision downloads from."""
    sums = {name: hashlib.md5(content).hexdigest() for name, content in members.items()}
    server.content = tar_of(members)
    monkeypatch.setattr(Archive, "url", f"http://127.0.0.1:{server.server_port}/cifar-10-python.tar.gz")
    monkeypatch.setattr(Archive, "tgz_md5", hashlib.md5(server.content).hexdigest())
    monkeypatch.setattr(Archive, "train_list", [[name, sums[name]] for name in sums if name.startswith("data")])
    monkeypatch.setattr(Archive, "test_list", [["test_batch", sums["test_batch"]]])
    monkeypatch.setattr(Archive, "meta", Archive.meta | {"md5": sums["batches.meta"]})
    return server.content


def test_our_cifar_archive_unpickles_to_what_was_put_in() -> None:
    pixels, labels = cifar_batch(0)
    content = python2_pickle({b"data": pixels, b"labels": labels, b"n": 3072})
    found = pickle.loads(content, encoding="latin1")
    assert np.array_equal(found["data"], pixels)
    assert (found["labels"], found["n"]) == (labels, 3072)


def test_cifar10_pictures_labels_and_class_names_are_read_right(tmp_path: Path, archive: bytes) -> None:
    data = opened(CIFAR10(root=str(tmp_path / "deep" / "data")), 32)
    assert data.class_names == CLASSES
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 80, "val": 20, "test": 20}
    batches = [cifar_batch(number) for number in range(6)]
    whole = {
        "train": (np.concatenate([b[0] for b in batches[:5]]), flat(b[1] for b in batches[:5])),
        "test": batches[5],
    }
    seen = []
    for split, pictures in data.images.items():
        for name, picture, label in zip(data.splits[split].names, pictures.pixels, pictures.labels, strict=True):
            source, number = name.split("/")
            pixels, labels = whole[source]
            assert_equal(picture, pixels[int(number)].reshape(3, 32, 32))
            assert label == labels[int(number)]
            seen.append((source, int(number)))
    assert sorted(seen) == [("test", n) for n in range(20)] + [("train", n) for n in range(100)]
    assert all(name.startswith("test/") for name in data.splits["test"].names)


def test_the_default_data_are_trained_from_their_archive(tmp_path: Path, archive: bytes) -> None:
    run = train_into(tmp_path / "run", "model=mlp", f"data.root={tmp_path / 'data'}", *QUICK, "trainer.max_epochs=1")
    assert OmegaConf.load(run.config).data["_target_"] == "viewfinder.data.sources.cifar10.CIFAR10"
    assert json.loads(run.data.read_text(encoding="utf-8"))["split_sizes"] == {"train": 80, "val": 20, "test": 20}
    assert run.read_run()["status"] == "finished"


def test_cifar10_is_downloaded_once(tmp_path: Path, archive: bytes, server: Server) -> None:
    first = names_of(opened(CIFAR10(root=str(tmp_path / "data"))))
    before = server.requests
    assert before > 0
    assert names_of(opened(CIFAR10(root=str(tmp_path / "data")))) == first
    assert names_of(opened(CIFAR10(root=str(tmp_path / "data"), download=False))) == first
    assert server.requests == before


def test_an_archive_put_where_the_error_says_is_used(tmp_path: Path, archive: bytes, server: Server) -> None:
    root = tmp_path / "data"
    root.mkdir()
    (root / "cifar-10-python.tar.gz").write_bytes(archive)
    assert len(opened(CIFAR10(root=str(root))).splits["train"]) == 80
    assert server.requests == 0


REFUSALS = ["http://127.0.0.1:9/cifar-10-python.tar.gz", "file:///nothing/here/cifar-10-python.tar.gz"]


@pytest.mark.parametrize("url", REFUSALS)
def test_cifar10_without_network_is_one_error_that_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setattr(Archive, "url", url)
    root = tmp_path / "some" / "data"
    with pytest.raises(UserError) as caught:
        opened(CIFAR10(root=str(root)))
    (problem,) = caught.value.problems
    assert problem.key == "data.root"
    assert str(root) in problem.rule
    assert url in problem.remedy
    assert str(root / "cifar-10-python.tar.gz") in problem.remedy
    assert "experiment=quickstart" in problem.remedy
    assert list(tmp_path.iterdir()) == []


def test_a_cifar10_download_that_breaks_off_is_an_error_and_leaves_nothing(
    tmp_path: Path, archive: bytes, server: Server
) -> None:
    server.content = archive[: len(archive) // 2]
    with pytest.raises(UserError, match="cannot be downloaded"):
        opened(CIFAR10(root=str(tmp_path / "data")))
    assert list(tmp_path.rglob("*")) == []


class Bomb:
    """A pickle of it makes a file when it is opened."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def files_below(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("download", [True, False])
@pytest.mark.parametrize("name", ["data_batch_1", "data_batch_5", "test_batch", "batches.meta"])
@pytest.mark.parametrize("has_archive", [True, False])
def test_an_extracted_file_that_is_not_the_published_one_is_named_and_never_unpickled(
    tmp_path: Path, archive: bytes, members: dict[str, bytes], server: Server, download: bool, name: str,
    has_archive: bool,
) -> None:  # fmt: skip
    root = tmp_path / "data"
    (root / "cifar-10-batches-py").mkdir(parents=True)
    for member, content in members.items():
        (root / "cifar-10-batches-py" / member).write_bytes(content)
    if has_archive:
        (root / "cifar-10-python.tar.gz").write_bytes(archive)
    assert len(opened(CIFAR10(root=str(root), download=download)).splits["train"]) == 80
    sprung = tmp_path / "sprung"
    (root / "cifar-10-batches-py" / name).write_bytes(pickle.dumps(Bomb(sprung)))
    before = files_below(root)
    with pytest.raises(UserError) as caught:
        opened(CIFAR10(root=str(root), download=download))
    (problem,) = caught.value.problems
    assert str(root / "cifar-10-batches-py" / name) in problem.rule
    assert "do not match their published MD5 checksums" in problem.rule
    assert not sprung.exists()
    assert (files_below(root), server.requests) == (before, 0)


@pytest.mark.parametrize(
    "damage", [lambda a: a[: len(a) // 2], lambda a: a[:-1] + b"x", lambda a: b"", lambda a: a * 2]
)
@pytest.mark.parametrize("download", [True, False])
def test_an_archive_that_is_not_the_published_one_is_named_and_left_alone(
    tmp_path: Path, archive: bytes, server: Server, damage: Callable[[bytes], bytes], download: bool
) -> None:
    path = tmp_path / "cifar-10-python.tar.gz"
    path.write_bytes(damage(archive))
    with pytest.raises(UserError) as caught:
        opened(CIFAR10(root=str(tmp_path), download=download))
    (problem,) = caught.value.problems
    assert f"{path} is not the published archive" in problem.rule
    assert "Remove it" in problem.remedy
    assert files_below(tmp_path) == {path.name: damage(archive)}
    assert (list(tmp_path.iterdir()), server.requests) == ([path], 0)


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = kind, target
    return entry


@pytest.mark.parametrize(
    ("hostile", "named"),
    [
        (lambda at: [(tarfile.TarInfo("../evil"), b"x")], "../evil"),
        (lambda at: [(tarfile.TarInfo("cifar-10-batches-py/../../evil"), b"x")], "../../evil"),
        (lambda at: [(tarfile.TarInfo(f"{at}/evil"), b"x")], "evil"),
        (lambda at: [(tarfile.TarInfo("beside/evil"), b"x")], "beside/evil"),
        (lambda at: [(link("cifar-10-batches-py/out", str(at)), b"")], "out"),
        (lambda at: [(link("cifar-10-batches-py/out", "../.."), b""),
                     (tarfile.TarInfo("cifar-10-batches-py/out/evil"), b"x")], "out"),
        (lambda at: [(link("cifar-10-batches-py/hard", "../../secret", tarfile.LNKTYPE), b"")], "hard"),
        (lambda at: [(link("cifar-10-batches-py/pipe", "", tarfile.FIFOTYPE), b"")], "pipe"),
    ],
)  # fmt: skip
def test_an_archive_that_leads_outside_is_refused_and_leaves_nothing_even_with_the_published_checksum(
    tmp_path: Path, archive: bytes, members: dict[str, bytes], monkeypatch: pytest.MonkeyPatch,
    hostile: Callable[[Path], Any], named: str,
) -> None:  # fmt: skip
    root = tmp_path / "deep" / "data"
    root.mkdir(parents=True)
    (tmp_path / "deep" / "secret").write_bytes(b"secret")
    packed = tar_of(members, *hostile(tmp_path))
    monkeypatch.setattr(Archive, "tgz_md5", hashlib.md5(packed).hexdigest())
    (root / "cifar-10-python.tar.gz").write_bytes(packed)
    with pytest.raises(UserError) as caught:
        opened(CIFAR10(root=str(root)))
    (problem,) = caught.value.problems
    assert "cannot be extracted" in problem.rule
    assert named in problem.rule
    assert files_below(tmp_path) == {"deep/secret": b"secret", "deep/data/cifar-10-python.tar.gz": packed}
    assert [path.name for path in root.iterdir()] == ["cifar-10-python.tar.gz"]


@pytest.mark.parametrize("harm", ["lacks", "differs", "no tar"])
def test_an_archive_whose_files_are_not_those_published_leaves_no_folder(
    tmp_path: Path, archive: bytes, members: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, harm: str
) -> None:
    members.pop("data_batch_3")
    packed = tar_of(members | ({"data_batch_3": b"other"} if harm == "differs" else {}))
    packed = b"no tar" if harm == "no tar" else packed
    monkeypatch.setattr(Archive, "tgz_md5", hashlib.md5(packed).hexdigest())
    (tmp_path / "cifar-10-python.tar.gz").write_bytes(packed)
    with pytest.raises(
        UserError, match="cannot be extracted" if harm == "no tar" else "its member data_batch_3 is missing"
    ):
        opened(CIFAR10(root=str(tmp_path)))
    assert [path.name for path in tmp_path.iterdir()] == ["cifar-10-python.tar.gz"]


@pytest.mark.parametrize("has_archive", [True, False])
def test_files_that_an_extracted_folder_lacks_come_from_the_archive(
    tmp_path: Path, archive: bytes, members: dict[str, bytes], has_archive: bool
) -> None:
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    for name in ("data_batch_2", "batches.meta"):
        (folder / name).write_bytes(members[name])
    if has_archive:
        (tmp_path / "cifar-10-python.tar.gz").write_bytes(archive)
    before = (folder / "data_batch_2").stat().st_ino
    assert len(opened(CIFAR10(root=str(tmp_path))).splits["train"]) == 80
    assert files_below(folder) == members
    assert (folder / "data_batch_2").stat().st_ino == before


def test_a_download_that_is_interrupted_leaves_nothing(
    tmp_path: Path, archive: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(url: str, root: Path, name: str, md5: str) -> None:
        root.mkdir(parents=True)
        (root / name).write_bytes(archive[:100])
        raise KeyboardInterrupt

    monkeypatch.setattr("torchvision.datasets.utils.download_url", interrupted)
    with pytest.raises(KeyboardInterrupt):
        opened(CIFAR10(root=str(tmp_path / "some" / "data")))
    assert list(tmp_path.iterdir()) == []


def test_cifar10_that_must_not_be_downloaded_says_so_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data\.download=false"):
        opened(CIFAR10(root=str(tmp_path / "data"), download=False))
    assert list(tmp_path.iterdir()) == []


def test_a_path_in_an_error_is_not_broken_over_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Archive, "url", REFUSALS[0])
    root = tmp_path / "a-rather-long-name-for-a-folder-of-pictures" / "and-another-one-inside-it" / "data"
    with pytest.raises(UserError) as caught:
        opened(CIFAR10(root=str(root)))
    assert str(root / "cifar-10-python.tar.gz") in str(caught.value)


# Digits


def test_digits_are_scikit_learns_levels_on_0_to_255() -> None:
    digits = load_digits()
    data = opened(Digits(), 32)
    assert data.class_names == [str(n) for n in range(10)]
    assert sum(len(split) for split in data.splits.values()) == 1797
    for name, pictures in data.images.items():
        places = [int(each.split("/")[1]) for each in data.splits[name].names]
        assert_equal(pictures.pixels, np.round(digits.images[places, None] * 255 / 16))
        assert pictures.labels.tolist() == digits.target[places].tolist()


def test_three_channels_of_grey_pictures_are_the_grey_thrice() -> None:
    grey, colour = opened(Digits(), 8), opened(Digits(channels=3), 8)
    assert (colour.in_channels, colour.image_shape) == (3, (3, 8, 8))
    for name in grey.images:
        assert_equal(colour.images[name].pixels, np.repeat(grey.images[name].pixels.numpy(), 3, axis=1))


def test_one_channel_of_colour_pictures_is_pillows_grey(tmp_path: Path, archive: bytes) -> None:
    root = str(tmp_path / "data")
    colour, grey = opened(CIFAR10(root=root), 32), opened(CIFAR10(root=root, channels=1), 32)
    assert grey.in_channels == 1
    for name in colour.images:
        for picture, found in zip(colour.images[name].pixels, grey.images[name].pixels, strict=True):
            expected = np.asarray(Image.fromarray(picture.permute(1, 2, 0).numpy()).convert("L"))
            assert_equal(found, expected[None])


# Batches


def epoch_of(order: EpochOrder, epoch: int) -> list[list[int]]:
    order.set_epoch(epoch)
    parts = list(order)
    assert len(parts) == len(order)
    return [places.tolist() for part in parts for _, places in part.batches]


def test_an_epoch_is_a_permutation_and_another_one_each_epoch_and_seed() -> None:
    orders = {(seed, epoch): flat(epoch_of(EpochOrder(100, 32, seed), epoch)) for seed in range(3) for epoch in (0, 1)}
    assert all(sorted(order) == list(range(100)) for order in orders.values())
    assert len({tuple(order) for order in orders.values()}) == 6
    assert list(range(100)) not in orders.values()


def test_an_epochs_order_follows_from_seed_and_epoch_whatever_was_drawn_before() -> None:
    fresh = epoch_of(EpochOrder(100, 32, 5), 3)
    torch.manual_seed(99)
    worn = EpochOrder(100, 32, 5)
    for epoch in (0, 1, 2, 7):
        epoch_of(worn, epoch)
        torch.rand(17)
    state = torch.get_rng_state()
    assert epoch_of(worn, 3) == fresh
    assert torch.equal(torch.get_rng_state(), state)


def test_two_ranks_take_the_batches_of_one_in_turn() -> None:
    alone = epoch_of(EpochOrder(100, 10, 4), 1)
    ranks = [epoch_of(EpochOrder(100, 10, 4, rank, 2), 1) for rank in (0, 1)]
    assert ranks == [alone[0::2], alone[1::2]]


def test_shuffled_ranks_have_equally_many_batches_and_evaluating_ones_leave_nothing_out() -> None:
    shuffled = [epoch_of(EpochOrder(90, 10, 4, rank, 2), 1) for rank in (0, 1)]
    assert [len(batches) for batches in shuffled] == [4, 4]
    for count in (90, 91, 2):
        ordered = [flat(epoch_of(EpochOrder(count, 10, None, rank, 2), 1)) for rank in (0, 1)]
        assert sorted(ordered[0] + ordered[1]) == list(range(count))
        assert abs(len(ordered[0]) - len(ordered[1])) <= 1


def test_a_last_batch_of_one_is_left_out_only_when_shuffled() -> None:
    assert [len(batch) for batch in epoch_of(EpochOrder(65, 32, 1), 0)] == [32, 32]
    assert [len(batch) for batch in epoch_of(EpochOrder(66, 32, 1), 0)] == [32, 32, 2]
    assert flat(epoch_of(EpochOrder(65, 32, None), 0)) == list(range(65))
    assert sorted(flat(epoch_of(EpochOrder(5, 1, 1), 0))) == list(range(5))


def test_most_is_the_number_of_batches_of_each_process() -> None:
    whole = epoch_of(EpochOrder(100, 10, 4), 2)
    assert epoch_of(EpochOrder(100, 10, 4, max_batches=3), 2) == whole[:3]
    assert epoch_of(EpochOrder(100, 10, 4, 1, 2, max_batches=2), 2) == [whole[1], whole[3]]
    assert epoch_of(EpochOrder(100, 10, 4, max_batches=30), 2) == whole


@pytest.mark.parametrize("chunk", [1, 2, 3, 5, 50])
def test_chunks_hold_an_epochs_batches_in_order_and_know_their_place(chunk: int) -> None:
    whole = epoch_of(EpochOrder(47, 10, 3), 2)
    order = EpochOrder(47, 10, 3, chunk_size=chunk)
    assert epoch_of(order, 2) == whole
    parts = list(order)
    assert [len(part.batches) for part in parts[:-1]] == [chunk] * (len(parts) - 1)
    assert [part.first for part in parts] == list(range(0, 5, chunk))
    assert {part.total for part in parts} == {5}


def test_a_loaders_batches_hold_the_pictures_at_their_positions_and_draw_no_global_numbers() -> None:
    pixels, labels = torch.from_numpy(noise(23, 3, 4, 5)), torch.from_numpy(noise(23, seed=1, top=7)).long()
    rows = ImageRows(pixels.permute(0, 2, 3, 1).contiguous())
    state = torch.get_rng_state()
    chunks = list(build_loader(SplitImages(rows, labels), EpochOrder(23, 5, 9, chunk_size=2)))
    batches = [batch for chunk in chunks for batch in chunk]
    assert torch.equal(torch.get_rng_state(), state)
    assert [len(chunk) for chunk in chunks] == [2, 2, 1]
    assert [batch.number for batch in batches] == [0, 1, 2, 3, 4]
    assert sorted(torch.cat([batch.positions for batch in batches]).tolist()) == list(range(23))
    for batch in batches:
        places = batch.positions.numpy()
        assert np.array_equal(batch.pixels.numpy(), pixels.numpy()[places])
        assert np.array_equal(batch.labels.numpy(), labels.numpy()[places])


def test_evaluation_keeps_a_splits_own_order() -> None:
    data = opened(Digits(batch_size=50), 8)
    for split in ("train", "val", "test"):
        batches = [batch for chunk in data.evaluation_loader(split) for batch in chunk]
        assert torch.equal(torch.cat([batch.pixels for batch in batches]), data.images[split].pixels)


# Augmentation


def crops(picture: np.ndarray, padding: int) -> Iterator[tuple[tuple[int, int, bool], np.ndarray]]:
    """Every (top, left, flipped) of a (C, H, W) picture and what it looks like, by slicing alone."""
    height, width = picture.shape[1:]
    padded = np.pad(picture, ((0, 0), (padding, padding), (padding, padding)))
    for top in range(2 * padding + 1):
        for left in range(2 * padding + 1):
            piece = padded[:, top : top + height, left : left + width]
            yield (top, left, False), piece
            yield (top, left, True), piece[:, :, ::-1]


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 6, 9), (3, 9, 6)])
def test_every_augmented_picture_is_one_of_its_crops_and_all_crops_occur(shape: tuple[int, ...]) -> None:
    picture = noise(*shape) | 1
    which = {crop.tobytes(): place for place, crop in crops(picture, 2)}
    assert len(which) == 50
    batch = torch.from_numpy(np.repeat(picture[None], 1000, axis=0))
    result = Basic(padding=2, flip=0.5)(batch, generator(1, "augment"))
    assert result.dtype == torch.uint8
    assert result.shape == batch.shape
    found = [which[each.numpy().tobytes()] for each in result]  # KeyError if it is none of them
    assert set(found) == set(which.values())
    assert 400 < sum(flipped for _, _, flipped in found) < 600


def test_each_picture_is_cropped_from_itself_with_numbers_of_its_own() -> None:
    pictures = noise(64, 3, 8, 8) | 1
    result = Basic(padding=3)(torch.from_numpy(pictures), generator(2, "augment")).numpy()
    places = []
    for picture, found in zip(pictures, result, strict=True):
        places += [place for place, crop in crops(picture, 3) if np.array_equal(crop, found)]
    assert len(places) == 64
    assert len(set(places)) > 32


def test_augmentation_by_the_same_drawn_numbers_equals_a_plain_loop() -> None:
    pictures, padding, flip = noise(40, 3, 7, 10), 2, 0.3
    drawn = generator(5, "augment", 1, 2)
    top, left = torch.randint(2 * padding + 1, (2, 40, 1), generator=drawn).squeeze(-1).tolist()
    flipped = (torch.rand(40, 1, generator=drawn) < flip).squeeze(-1).tolist()
    expected = [
        dict(crops(picture, padding))[t, x, f]
        for picture, t, x, f in zip(pictures, top, left, flipped, strict=True)
    ]  # fmt: skip
    found = Basic(padding, flip)(torch.from_numpy(pictures), generator(5, "augment", 1, 2))
    assert_equal(found, np.stack(expected))


def test_no_padding_and_certain_flip_is_numpys_flip() -> None:
    pictures = noise(5, 3, 6, 8)
    assert_equal(Basic(0, 1.0)(torch.from_numpy(pictures), generator(0)), pictures[:, :, :, ::-1])
    assert_equal(Basic(0, 0.0)(torch.from_numpy(pictures), generator(0)), pictures)


def test_augmentation_follows_from_its_generator_alone_and_leaves_its_input() -> None:
    pictures = torch.from_numpy(noise(32, 3, 8, 8))
    kept, augment = pictures.clone(), Basic()
    first = augment(pictures, generator(1, "augment", 0, 0))
    torch.manual_seed(3)
    assert torch.equal(augment(pictures, generator(1, "augment", 0, 0)), first)
    assert not torch.equal(augment(pictures, generator(1, "augment", 0, 1)), first)
    assert torch.equal(pictures, kept)


# Where decoded pictures are kept


@pytest.fixture
def album(tmp_path: Path) -> Path:
    """<album>/<class>/<n>.png of mixed sizes, 20 of each of two classes."""
    for label, name in enumerate(("cat", "dog")):
        for number in range(20):
            height, width = 6 + number % 5, 7 + number % 3
            saved(tmp_path / "album" / name, f"{number:02}.png", noise(height, width, 3, seed=50 * label + number))
    return tmp_path / "album"


def kept(album: Path, storage: str, **options: Any) -> ImageFolder:
    data = ImageFolder(root=str(album), storage=storage, batch_size=8, **options)  # type: ignore[arg-type]
    return opened(data, 8)


def batches_of(data: ImageFolder, split: str, epoch: int) -> list[tuple[list[int], Tensor, list[int]]]:
    order = data.training_order()
    order.set_epoch(epoch)
    chunks = build_loader(data.images[split], order) if split == "train" else data.evaluation_loader(split)
    return [(b.positions.tolist(), b.pixels, b.labels.tolist()) for chunk in chunks for b in chunk]


@pytest.mark.parametrize("storage", ["disk", "stream"])
def test_every_storage_gives_the_same_batches(
    album: Path, storage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    ours, theirs = kept(album, storage, workers=2), kept(album, "memory")
    for split, epoch in (("train", 0), ("train", 3), ("val", 0), ("test", 0)):
        for mine, other in zip(batches_of(ours, split, epoch), batches_of(theirs, split, epoch), strict=True):
            assert mine[0] == other[0]
            assert mine[2] == other[2]
            assert torch.equal(mine[1], other[1])


@pytest.mark.parametrize("side", [8, 300, 700])
def test_a_fingerprint_takes_few_of_the_pictures_at_once(side: int) -> None:
    base = torch.randint(0, 256, (12, side, side, 3), dtype=torch.uint8)
    parts = [*SplitImages(ImageRows(base), torch.zeros(12, dtype=torch.int64)).iterate_bytes()]
    assert b"".join(parts) == base.permute(0, 3, 1, 2).numpy().tobytes()
    assert max(map(len, parts)) <= max(2**20, 3 * side**2)


def test_the_cache_on_disk_is_used_again_until_a_picture_changes(
    album: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    first = kept(album, "disk").summarise()["fingerprint"]
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*.npy")}
    assert len(files) == 3
    assert kept(album, "disk").summarise()["fingerprint"] == first == kept(album, "memory").summarise()["fingerprint"]
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*.npy")} == files
    saved(album / "cat", "00.png", noise(9, 9, 3, seed=999))
    changed = kept(album, "disk")
    assert changed.summarise()["fingerprint"] == kept(album, "memory").summarise()["fingerprint"] != first


def test_a_broken_picture_leaves_nothing_half_made_in_the_cache(
    album: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    whole = (album / "cat" / "03.png").read_bytes()
    (album / "cat" / "03.png").write_bytes(whole[: len(whole) * 2 // 3])
    with pytest.raises(UserError, match=r"03\.png"):
        kept(album, "disk")
    assert list((tmp_path / "cache").rglob(".*.npy")) == []


def test_a_picture_that_breaks_is_named_when_a_stream_comes_to_it(album: Path) -> None:
    data = kept(album, "stream", workers=1, val_fraction=0.1, test_fraction=0.1)
    for path in album.rglob("*.png"):
        path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(UserError, match=r"\.png\n +cannot be read|\.png\n +unsupported or corrupt"):
        batches_of(data, "train", 0)


@pytest.mark.parametrize(
    ("memory", "disk", "chosen"),
    [(2.0, 0.0, "in memory"), (1.9, 2.0, "cache"), (1.9, 1.9, "decoded as needed")],
)
def test_pictures_are_kept_in_the_first_place_of_which_they_take_half(
    album: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, memory: float, disk: float, chosen: str
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    size = 40 * 3 * 8 * 8
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=memory * size))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=disk * size))
    assert chosen in kept(album, "auto").stored.location


@dataclass(kw_only=True, eq=False)
class Coloured(ImageData):
    """Pictures in memory, of three channels."""

    def list_pictures(self) -> tuple[list[str], dict[str, Split]]:
        names, labels = np.array([f"{number}" for number in range(90)]), np.arange(90) % 3
        return ["a", "b", "c"], {"train": Split(names, labels, ImageRows(torch.from_numpy(noise(90, 8, 8, 3))))}


def test_pictures_elsewhere_give_the_same_batches_without_touching_those_here() -> None:
    here = opened(Coloured(channels=1), 8).images["train"]
    there = here.with_base(here.rows.base.clone())
    here.rows.base.zero_()
    theirs = opened(Coloured(channels=1), 8).images["train"]
    positions = torch.tensor([3, 0, 7])
    for mine, other in zip(there.gather(positions), theirs.gather(positions), strict=True):
        assert torch.equal(mine, other)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("free", "moved"), [(5.0, True), (4.9, False)])
def test_pictures_that_take_a_fifth_of_a_gpu_are_kept_there_once_for_all_splits(
    monkeypatch: pytest.MonkeyPatch, free: float, moved: bool, channels: Literal[1, 3]
) -> None:
    """On torch's meta device, where everything must lie that is computed with, though it has no numbers."""
    data = opened(Coloured(channels=channels), 8)
    size = data.images["train"].rows.base.nbytes
    known = {"mem_get_info": (int(free * size) - 300, 0), "memory_reserved": 1000, "memory_allocated": 700}
    for name, value in known.items():
        monkeypatch.setattr(torch.cuda, name, lambda _, value=value: value)
    data.move_to_device(torch.device("cpu"))
    assert data.stored.location == "in memory"
    data.move_to_device(torch.device("meta"))
    assert ("on the GPU" in data.stored.location) == moved
    assert {each.device.type for each in data.stored.active_images.values()} == {"meta" if moved else "cpu"}
    assert {each.device.type for each in data.images.values()} == {"cpu"}
    assert len({id(each.rows.base) for each in data.stored.active_images.values()}) == 1
    for batches in (data.train_dataloader(), data.val_dataloader()):
        for chunk in batches:
            for batch in chunk.to(torch.device("meta")):
                assert {each.device.type for each in batch[:3]} == {"meta"}
                assert batch.pixels.shape == (len(batch.labels), channels, 8, 8)


@dataclass(kw_only=True, eq=False)
class Listed(ImageData):
    """A source of one's own: it says which files there are, and nothing else."""

    root: Path

    def list_pictures(self) -> tuple[list[str], dict[str, Split]]:
        paths = sorted(self.root.rglob("*.png"))
        labels = np.array([int(path.parent.name == "dog") for path in paths])
        return ["cat", "dog"], {
            "train": Split(np.array([p.name for p in paths]), labels, np.array(paths, dtype=object))
        }


def test_a_source_of_ones_own_need_only_list_its_files(album: Path) -> None:
    ours, theirs = opened(Listed(root=album), 8), kept(album, "memory")
    for split in ("train", "val", "test"):
        assert torch.equal(ours.images[split].pixels, theirs.images[split].pixels)


def test_splits_of_one_tensor_share_it() -> None:
    data = opened(Digits(), 8)
    bases = {pictures.rows.base.data_ptr() for pictures in data.images.values()}
    assert len(bases) == 1
