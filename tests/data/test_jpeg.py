"""JPEG files have the same bits with torchcodec and with Pillow."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from image_files import encode_image, jpeg_claiming, noise, save_image
from PIL import Image
from torch import Tensor

from viewfinder.data.decode import SMALL_FILE, _decode_plain_jpegs, _read_small_file, decode_image, decode_images
from viewfinder.data.jpeg import count_jpeg_pixels, load_jpeg_decoder
from viewfinder.errors import Problem

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


needs_torchcodec = pytest.mark.skipif(load_jpeg_decoder() is None, reason="torchcodec cannot be loaded")


@needs_torchcodec
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(1, 1), (8, 8), (9, 30), (40, 23)])
def test_many_images_at_once_have_the_bits_of_each_alone(tmp_path: Path, channels: int, size: tuple[int, int]) -> None:
    """JPEG files take a way of their own, by torchcodec; `decode` is Pillow's."""
    for number, (name, options) in enumerate(JPEGS.items()):
        for mode in ("RGB", "L") if name != "rgb" else ("RGB",):
            image = Image.fromarray(noise(9 + 7 * number, 30 - number, 3, seed=number)).resize((40, 23))
            save_image(tmp_path, f"{name}-{mode}.jpg", image.convert(mode), **options)
    save_image(tmp_path, "ink.jpg", Image.fromarray(noise(9, 9, 4), "CMYK"))
    save_image(tmp_path, "one.JPEG", noise(1, 1, 3))
    save_image(tmp_path, "large.jpg", noise(500, 700, 3), quality=100)
    Image.fromarray(noise(6, 6, 3)).save(tmp_path / "a-png-in-truth.jpg", "png")
    save_image(tmp_path, "c.png", noise(6, 6, 3))
    paths = sorted(tmp_path.iterdir())
    assert (tmp_path / "large.jpg").stat().st_size > SMALL_FILE
    quick = {
        path.stem for path in _decode_plain_jpegs({path: _read_small_file(path) for path in paths}, channels, size)
    }
    plain = set(JPEGS) - {"commented", "turned", "turned-by-xmp"}
    assert quick == (
        {f"{name}-L" for name in plain - {"rgb"}} if channels == 1 else {f"{name}-RGB" for name in plain} | {"one"}
    )
    actual = list(decode_images(paths, channels, size))
    assert len(actual) == len(paths) == 24
    for path, image in zip(paths, actual, strict=True):
        assert isinstance(image, Tensor), path
        assert torch.equal(image, decode_image(path, channels, size)), path


@needs_torchcodec
def test_a_damaged_jpeg_is_read_or_refused_as_pillow_does(tmp_path: Path) -> None:
    whole = save_image(tmp_path, "whole.jpg", noise(24, 40, 3, top=256), quality=60).read_bytes()
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
        (actual,) = decode_images([path], 3, (24, 40))
        quick += len(_decode_plain_jpegs({path: bytes(damaged)}, 3, (24, 40)))
        try:
            expected = decode_image(path, 3, (24, 40))
        except (OSError, SyntaxError, ValueError):
            assert isinstance(actual, Problem), number
            refused += 1
        else:
            assert isinstance(actual, Tensor), number
            assert torch.equal(actual, expected), number
    assert 100 < refused < 300
    assert 0 < quick <= 300 - refused


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"comment": b"c" * 300}, {"exif": bytes(50)}])
def test_a_jpegs_pixels_are_those_of_its_frame_header(options: dict[str, Any]) -> None:
    assert count_jpeg_pixels(encode_image("jpeg", (123, 45), **options)) == 123 * 45
    assert count_jpeg_pixels(jpeg_claiming(65500, 65500, **options)) == 65500 * 65500


def test_a_jpeg_with_odd_bytes_before_its_frame_header_is_not_plain() -> None:
    whole = encode_image("jpeg")
    for odd in (b"\xff\xd0\x10\x00", b"\xff\x01\x10\x00", b"\0\0", b"\xff\xe0\0\0", b"\xff\xff"):
        assert count_jpeg_pixels(whole[:2] + odd + whole[2:]) == 0
    for end in range(len(whole)):
        assert count_jpeg_pixels(whole[:end]) in (0, 9 * 7)


def test_pillow_decodes_the_same_bits_without_torchcodec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [save_image(tmp_path, f"{number}.jpg", noise(20, 30, 3, seed=number)) for number in range(5)]
    with_torchcodec = list(decode_images(paths, 3, (8, 9)))
    monkeypatch.setitem(sys.modules, "torchcodec.decoders", None)
    load_jpeg_decoder.cache_clear()
    try:
        assert load_jpeg_decoder() is None
        without_torchcodec = list(decode_images(paths, 3, (8, 9)))
    finally:
        load_jpeg_decoder.cache_clear()
    for image, expected in zip(without_torchcodec, with_torchcodec, strict=True):
        assert isinstance(image, Tensor)
        assert torch.equal(image, expected)
