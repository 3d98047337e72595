"""Images decode as Pillow and the EXIF, PNG and TIFF standards define."""

import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from image_files import assert_equal, chw, noise, save_image
from PIL import Image
from torch import Tensor

from viewfinder.data import files as find
from viewfinder.data.decode import decode_image, decode_images
from viewfinder.data.decode_parallel import decode_all
from viewfinder.data.headers import find_common_shape, read_header
from viewfinder.data.listing import find_images
from viewfinder.errors import Problem

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
"""EXIF orientation -> how a stored image is displayed (EXIF 2.32, tag 274)."""


def blend_over_white(colour: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """(H, W, ...) levels seen through (H, W) alpha on white paper, in real numbers."""
    share = alpha.astype(float).reshape(*alpha.shape, *[1] * (colour.ndim - 2)) / 255
    return colour * share + 255 * (1 - share)


def test_grey_and_colour_png_decode_to_their_very_levels(tmp_path: Path) -> None:
    grey, colour = noise(5, 7), noise(5, 7, 3, seed=1)
    assert_equal(decode_image(save_image(tmp_path, "g.png", grey), 1), chw(grey))
    assert_equal(decode_image(save_image(tmp_path, "c.png", colour), 3), chw(colour))


def test_a_grey_image_asked_in_colour_repeats_its_levels(tmp_path: Path) -> None:
    grey = noise(5, 7)
    assert_equal(decode_image(save_image(tmp_path, "g.png", grey), 3), np.repeat(chw(grey), 3, axis=0))


def test_a_colour_image_asked_in_grey_has_the_luma_of_itu_601(tmp_path: Path) -> None:
    colour = noise(9, 7, 3)
    luma = colour @ np.array([0.299, 0.587, 0.114])
    assert_equal(decode_image(save_image(tmp_path, "c.png", colour), 1), luma[None], within=0.51)


def test_a_palette_image_shows_its_palettes_colours(tmp_path: Path) -> None:
    palette, places = noise(16, 3), noise(6, 8, seed=1, top=16)
    image = Image.frombytes("P", (8, 6), places.tobytes())
    image.putpalette(palette.tobytes())
    path = save_image(tmp_path, "p.png", image)
    assert_equal(decode_image(path, 3), chw(palette[places]))
    assert read_header(path)[:2] == ((6, 8), 3)


def test_a_palette_images_transparent_entry_is_white(tmp_path: Path) -> None:
    palette, places = noise(16, 3), noise(6, 8, seed=1, top=16)
    image = Image.frombytes("P", (8, 6), places.tobytes())
    image.putpalette(palette.tobytes())
    expected = palette.copy()
    expected[5] = 255
    assert_equal(decode_image(save_image(tmp_path, "p.png", image, transparency=5), 3), chw(expected[places]))


def test_cmyk_ink_becomes_the_light_that_is_left(tmp_path: Path) -> None:
    ink = noise(6, 5, 4).astype(float)
    path = save_image(tmp_path, "c.tif", Image.frombytes("CMYK", (5, 6), ink.astype(np.uint8).tobytes()))
    assert_equal(decode_image(path, 3), chw((255 - ink[..., :3]) * (255 - ink[..., 3:]) / 255), within=1)
    assert read_header(path)[:2] == ((6, 5), 3)


def test_a_cmyk_jpeg_decodes_as_pillow_converts_it(tmp_path: Path) -> None:
    path = save_image(tmp_path, "c.jpg", Image.frombytes("CMYK", (16, 8), noise(8, 16, 4).tobytes()))
    with Image.open(path) as opened:
        expected = np.asarray(opened.convert("RGB"))
    assert_equal(decode_image(path, 3), chw(expected))


@pytest.mark.parametrize("name", ["deep.png", "deep.tif", "deep.pgm"])
def test_sixteen_bits_become_eight_by_scaling(tmp_path: Path, name: str) -> None:
    levels = noise(6, 9, top=65536, dtype=np.uint16)
    levels[0, :2] = 0, 65535
    path = save_image(tmp_path, name, levels)
    assert_equal(decode_image(path, 1), np.round(levels / 65535 * 255)[None], within=0)
    assert read_header(path)[:2] == ((6, 9), 1)


def test_a_big_endian_sixteen_bit_image_is_grey_too(tmp_path: Path) -> None:
    levels = noise(6, 9, top=65536, dtype=np.uint16)
    image = Image.frombytes("I;16B", (9, 6), levels.astype(">u2").tobytes())
    path = save_image(tmp_path, "deep.tif", image)
    assert_equal(decode_image(path, 1), np.round(levels / 257)[None])
    assert read_header(path)[:2] == ((6, 9), 1)


def test_sixteen_bit_files_with_levels_below_256_keep_them(tmp_path: Path) -> None:
    levels = noise(6, 9, dtype=np.uint16)
    assert_equal(decode_image(save_image(tmp_path, "shallow.png", levels), 1), levels[None])


def test_one_bit_is_black_or_white(tmp_path: Path) -> None:
    bits = noise(6, 11, top=2).astype(bool)
    path = save_image(tmp_path, "bits.png", Image.fromarray(bits))
    assert_equal(decode_image(path, 1), 255 * bits[None])
    assert read_header(path)[:2] == ((6, 11), 1)


@pytest.mark.parametrize("name", ["clear.png", "clear.tif"])
def test_rgba_is_seen_over_white(tmp_path: Path, name: str) -> None:
    pixels = noise(12, 10, 4)
    pixels[0, :2, 3] = 0, 255
    path = save_image(tmp_path, name, pixels)
    assert_equal(decode_image(path, 3), chw(blend_over_white(pixels[..., :3], pixels[..., 3])), within=1)
    assert decode_image(path, 3)[:, 0, 0].tolist() == [255, 255, 255]
    assert decode_image(path, 3)[:, 0, 1].tolist() == pixels[0, 1, :3].tolist()


def test_grey_with_alpha_is_seen_over_white_and_counts_as_grey(tmp_path: Path) -> None:
    pixels = noise(12, 10, 2)
    path = save_image(tmp_path, "la.png", Image.frombytes("LA", (10, 12), pixels.tobytes()))
    assert_equal(decode_image(path, 1), blend_over_white(pixels[..., 0], pixels[..., 1])[None], within=1)
    assert read_header(path)[:2] == ((12, 10), 1)


def test_a_grey_level_declared_transparent_is_white(tmp_path: Path) -> None:
    levels = noise(8, 8, top=4)
    path = save_image(tmp_path, "key.png", levels, transparency=2)
    assert_equal(decode_image(path, 1), np.where(levels == 2, 255, levels)[None])


def test_a_sixteen_bit_level_declared_transparent_is_white(tmp_path: Path) -> None:
    levels = noise(8, 8, top=4, dtype=np.uint16) * 10_000
    path = save_image(tmp_path, "key.png", levels)
    data = path.read_bytes()
    chunk = b"tRNS" + struct.pack(">H", 20_000)
    start = data.index(b"IDAT") - 4
    path.write_bytes(data[:start] + struct.pack(">I", 2) + chunk + struct.pack(">I", zlib.crc32(chunk)) + data[start:])
    assert_equal(decode_image(path, 1), np.where(levels == 20_000, 255, np.round(levels / 257))[None])


@pytest.mark.parametrize("orientation", TURNS)
@pytest.mark.parametrize("name", ["turned.png", "turned.jpg", "turned.tif", "turned.webp"])
def test_an_image_is_turned_as_its_exif_orientation_says(tmp_path: Path, name: str, orientation: int) -> None:
    stored = np.kron(noise(2, 3, top=256), np.ones((16, 16), np.uint8))
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    options = {"webp": {"lossless": True}, "jpg": {"quality": 100}, "tif": {"compression": "tiff_lzw"}, "png": {}}
    path = save_image(tmp_path, name, stored, exif=exif, **options[name.partition(".")[2]])
    expected = TURNS[orientation](stored)[None]
    assert_equal(decode_image(path, 1), expected, within=1 if name.endswith("jpg") else 0)
    assert read_header(path)[0] == expected.shape[1:]


@pytest.mark.parametrize("orientation", TURNS)
def test_an_uncompressed_tiff_is_turned_too(tmp_path: Path, orientation: int) -> None:
    stored = noise(4, 6)
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    assert_equal(
        decode_image(save_image(tmp_path, "turned.tif", stored, exif=exif), 1), TURNS[orientation](stored)[None]
    )


def test_an_animation_shows_its_first_frame(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (6, 4), colour) for colour in ("red", "lime", "blue")]
    path = save_image(tmp_path, "moving.gif", frames[0], save_all=True, append_images=frames[1:])
    with Image.open(path) as opened:
        assert opened.n_frames == 3
    assert_equal(decode_image(path, 3), chw(np.full((4, 6, 3), (255, 0, 0))))
    assert read_header(path)[:2] == ((4, 6), 3)


@pytest.mark.parametrize("kind", ["gif", "png", "webp", "tiff"])
def test_many_frames_or_pages_decode_to_the_first(tmp_path: Path, kind: str) -> None:
    first, *others = (Image.new("RGB", (6, 4), colour) for colour in ("red", "lime", "blue"))
    options = {"lossless": True} if kind == "webp" else {}
    path = save_image(tmp_path, f"many.{kind}", first, save_all=True, append_images=others, **options)
    with Image.open(path) as opened_again:
        assert getattr(opened_again, "n_frames", 0) == 3
    assert np.array_equal(decode_image(path, 3).numpy(), chw(np.full((4, 6, 3), (255, 0, 0))))
    assert find_common_shape([path])[:3] == (3, (4, 6), {})


@pytest.mark.parametrize(
    "name", ["two words.png", "line\nbreak.png", "#1 50%.png", "ünï-日本.png", "UPPER.PNG", "a.b.c.png", "quote\"'.png"]
)
def test_odd_file_names_are_read(tmp_path: Path, name: str) -> None:
    pixels = noise(4, 4, 3)
    path = tmp_path / name
    Image.fromarray(pixels).save(path, "png")
    assert find_images([tmp_path]).images == [path]
    into = torch.empty(1, 4, 4, 3, dtype=torch.uint8)
    assert decode_all([path], 3, (4, 4), "decoding", into) == {}
    assert_equal(into[0], pixels)


def test_a_wanted_size_is_pillows_bilinear_resize_of_the_turned_image(tmp_path: Path) -> None:
    stored = noise(20, 30, 3)
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    path = save_image(tmp_path, "turned.png", stored, exif=exif)
    turned = Image.fromarray(np.ascontiguousarray(np.rot90(stored, -1)))
    expected = np.asarray(turned.resize((12, 8), Image.Resampling.BILINEAR))
    assert_equal(decode_image(path, 3, (8, 12)), chw(expected))


def test_one_broken_image_among_many_is_the_only_one_that_is_not_read(tmp_path: Path) -> None:
    paths = [save_image(tmp_path, f"{number}.jpg", noise(8, 8, 3, seed=number)) for number in range(70)]
    paths[3].write_bytes(paths[3].read_bytes()[:300])
    paths[40].unlink()
    actual = list(decode_images(paths, 3, (8, 8)))
    assert [place for place, item in enumerate(actual) if isinstance(item, Problem)] == [3, 40]
    for path, image in zip(paths, actual, strict=True):
        assert isinstance(image, Problem) or torch.equal(image, decode_image(path, 3))


@pytest.mark.parametrize("size", [(8, 8), (200, 200)], ids=["small", "large"])
@pytest.mark.parametrize("kind", ["jpg", "png"])
def test_a_file_that_is_written_to_while_it_is_read_is_named_as_such(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, size: tuple[int, int]
) -> None:
    path = save_image(tmp_path, f"x.{kind}", noise(*size, 3), **({"quality": 100} if kind == "jpg" else {}))
    still = save_image(tmp_path, f"y.{kind}", noise(*size, 3))
    real, seen = os.fstat, []

    def fstat(file: int) -> os.stat_result:
        if Path(f"/proc/self/fd/{file}").readlink() == path:
            seen.append(real(file))
            if len(seen) == 2:
                os.utime(path, ns=(0, seen[0].st_mtime_ns + 1))
        return real(file)

    monkeypatch.setattr(find.os, "fstat", fstat)
    first, second = decode_images([path, still], 3, (8, 8))
    assert isinstance(first, Problem)
    assert first.key == str(path)
    assert "changed while it was read" in first.rule
    assert isinstance(second, Tensor)
    monkeypatch.undo()
    (again,) = decode_images([path], 3, (8, 8))
    assert isinstance(again, Tensor)


def test_a_file_that_grows_while_pillow_reads_it_is_named_whatever_pillow_made_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = save_image(tmp_path, "x.png", noise(200, 200, 3)).read_bytes()
    path = tmp_path / "half.png"
    path.write_bytes(whole[: len(whole) // 2])
    real = Image.open

    def open_and_append(*args: Any, **kwargs: Any) -> Any:
        actual = real(*args, **kwargs)
        with path.open("ab") as file:
            file.write(whole[len(whole) // 2 :])
        return actual

    monkeypatch.setattr(Image, "open", open_and_append)
    with pytest.raises(OSError, match="changed while it was read"):
        decode_image(path, 3)
