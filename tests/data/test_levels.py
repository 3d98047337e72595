"""Grey images of more than 8 bits keep their brightness, or are refused if their scale is unknown."""

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import pytest
from image_files import assert_equal, noise, save_image

from viewfinder.data.decode import decode_image, decode_images
from viewfinder.errors import Problem

UNSIGNED, SIGNED, FLOAT = 1, 2, 3
"""Values of the TIFF tag SampleFormat."""


def write_tiff(path: Path, width: int, height: int, bits: tuple[int, ...], content: bytes, **tags: int) -> Path:
    """Write an uncompressed little-endian TIFF by the specification (TIFF 6.0), without Pillow.

    Args:
        bits: bits of each sample of a pixel.
        tags: values of `photometric`, `sample_format`, `orientation` and `extra_samples`.
    """
    numbers = {"photometric": 262, "orientation": 274, "extra_samples": 338, "sample_format": 339}
    entries = {256: width, 257: height, 259: 1, 262: 1, 277: len(bits), 278: height, 279: len(content)}
    entries |= {numbers[name]: value for name, value in tags.items()}
    offset = 8 + 2 + 12 * (len(entries) + 2) + 4
    depths = struct.pack(f"<{len(bits)}H", *bits)
    is_inline = len(depths) <= 4
    rows = {tag: struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries.items()}
    rows[258] = struct.pack("<HHI", 258, 3, len(bits)) + (
        depths.ljust(4, b"\0") if is_inline else struct.pack("<I", offset)
    )
    rows[273] = struct.pack("<HHII", 273, 4, 1, offset + len(depths))
    directory = struct.pack("<H", len(rows)) + b"".join(row for _, row in sorted(rows.items())) + bytes(4)
    path.write_bytes(b"II*\0" + struct.pack("<I", 8) + directory + depths + content)
    return path


def write_array(path: Path, levels: np.ndarray, **tags: int) -> Path:
    kinds = {"u": UNSIGNED, "i": SIGNED, "f": FLOAT}
    height, width = levels.shape
    kind = kinds[levels.dtype.kind]
    return write_tiff(path, width, height, (8 * levels.itemsize,), levels.tobytes(), sample_format=kind, **tags)


def shares(*shape: int) -> np.ndarray:
    """Return numbers from 0 to 1, both included."""
    drawn = np.random.default_rng(3).random(shape).astype(np.float32)
    drawn.flat[:2] = 0, 1
    return drawn


@pytest.mark.parametrize("channels", [1, 3])
def test_floating_point_levels_from_0_to_1_span_black_to_white(tmp_path: Path, channels: int) -> None:
    levels = shares(6, 9)
    expected = np.repeat(np.round(255 * levels.astype(float))[None], channels, axis=0)
    assert_equal(decode_image(write_array(tmp_path / "f.tif", levels), channels), expected)


@pytest.mark.parametrize("largest", [255, 65535])
def test_floating_point_levels_on_the_scale_of_integers_keep_their_brightness(tmp_path: Path, largest: int) -> None:
    levels = largest * shares(6, 9)
    expected = np.round(levels.astype(float) / largest * 255)[None]
    assert_equal(decode_image(write_array(tmp_path / "f.tif", levels), 1), expected)


@pytest.mark.parametrize("levels", [[[0, 1, 0]], [[1, 1, 1]]])
def test_floating_point_levels_that_are_white_or_nearly_black_are_refused(tmp_path: Path, levels: Any) -> None:
    path = write_array(tmp_path / "f.tif", np.array(levels, np.float32))
    (problem,) = decode_images([path], 1, (1, 3))
    assert isinstance(problem, Problem)
    assert "0 and 1 alone, may be white or nearly black" in problem.rule


def test_a_black_floating_point_image_is_black(tmp_path: Path) -> None:
    path = write_array(tmp_path / "f.tif", np.zeros((2, 3), np.float32))
    assert decode_image(path, 1).flatten().tolist() == [0] * 6


def test_a_floating_point_image_that_rounding_left_a_little_above_1_is_not_black(tmp_path: Path) -> None:
    levels = np.array([[0, 0.5, 1.0000001]], np.float32)
    assert decode_image(write_array(tmp_path / "f.tif", levels), 1).flatten().tolist() == [0, 128, 255]


def test_a_floating_point_image_is_turned_as_its_orientation_says(tmp_path: Path) -> None:
    levels = shares(4, 6)
    path = write_array(tmp_path / "f.tif", levels, orientation=6)
    assert_equal(decode_image(path, 1), np.rot90(np.round(255 * levels.astype(float)), -1)[None])


@pytest.mark.parametrize(
    "levels",
    [
        np.array([[-1, 0.5, 1]], np.float32),
        np.array([[0, 0.5, 1e9]], np.float32),
        np.array([[0, 0.5, np.nan]], np.float32),
        np.array([[0, 0.5, np.inf]], np.float32),
        np.array([[-40, 0, 40]], np.int16),
        np.array([[0, 5, 2**20]], np.int32),
        np.array([[0, 5, 2**32 - 1]], np.uint32),
    ],
    ids=["negative", "large", "nan", "infinite", "int16", "int32", "uint32"],
)
def test_levels_of_an_unknown_scale_are_refused_rather_than_clipped(tmp_path: Path, levels: np.ndarray) -> None:
    path = write_array(tmp_path / "unknown.tif", levels)
    (problem,) = decode_images([path], 1, levels.shape)
    assert isinstance(problem, Problem)
    assert problem.key == str(path)
    assert "are not on a scale of" in problem.rule


@pytest.mark.parametrize("dtype", [np.int32, np.uint32, np.int16])
@pytest.mark.parametrize("top", [200, 30_000])
def test_integers_of_16_or_32_bits_keep_their_brightness(tmp_path: Path, dtype: Any, top: int) -> None:
    levels = noise(6, 9, top=top, dtype=dtype)
    levels[0, 0] = top
    expected = levels if top < 256 else np.round(levels / 65535 * 255)
    assert_equal(decode_image(write_array(tmp_path / "i.tif", levels), 1), expected[None].astype(float))


def test_white_of_12_bits_is_white(tmp_path: Path) -> None:
    levels = noise(4, 6, top=4096, dtype=np.int64)
    levels[0, :2] = 0, 4095
    pairs = levels.reshape(-1, 2)
    packed = np.stack([pairs[:, 0] >> 4, (pairs[:, 0] & 15) << 4 | pairs[:, 1] >> 8, pairs[:, 1] & 255], 1)
    path = write_tiff(tmp_path / "twelve.tif", 6, 4, (12,), packed.astype(np.uint8).tobytes())
    assert_equal(decode_image(path, 1), np.round(levels / 4095 * 255)[None])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_an_image_whose_zero_is_white_is_not_a_negative(tmp_path: Path, dtype: Any) -> None:
    """TIFF 6.0, PhotometricInterpretation = 0, as scanners and fax machines write it."""
    largest = 1 if dtype is np.float32 else np.iinfo(dtype).max
    stored = (shares(4, 6) * largest).astype(dtype)
    expected = np.round((1 - stored.astype(float) / largest) * 255)
    assert_equal(decode_image(write_array(tmp_path / "w.tif", stored, photometric=0), 1), expected[None], within=1)


def test_premultiplied_grey_is_seen_over_white_or_refused(tmp_path: Path) -> None:
    """Earlier versions of Pillow do not read such a file."""
    path = write_tiff(tmp_path / "la.tif", 2, 1, (8, 8), bytes([100, 200, 0, 0]), extra_samples=1)
    (image,) = decode_images([path], 1, (1, 2))
    if isinstance(image, Problem):
        assert int(PIL.__version__.partition(".")[0]) < 13
    else:
        assert image.flatten().tolist() == [100 + 255 - 200, 255]


def test_16_bits_of_each_colour_keep_their_brightness(tmp_path: Path) -> None:
    levels = noise(3, 4, 3, top=65536, dtype=np.uint16)
    path = write_tiff(tmp_path / "rgb.tif", 4, 3, (16, 16, 16), levels.tobytes(), photometric=2)
    assert_equal(decode_image(path, 3), np.round(levels / 65535 * 255).transpose(2, 0, 1), within=1)


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_a_transparent_level_of_few_bits_is_white(tmp_path: Path, depth: int) -> None:
    """PNG (third edition), 11.3.1.1: the level in tRNS has the depth of the image."""
    chunks = {b"tRNS": struct.pack(">H", 1), b"IDAT": zlib.compress(b"\0" + bytes([1 << 8 - depth]))}
    header = struct.pack(">IIBBBBB", 2, 1, depth, 0, 0, 0, 0)
    parts = [(b"IHDR", header), *chunks.items(), (b"IEND", b"")]
    content = [struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in parts]
    (tmp_path / "small.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(content))
    assert decode_image(tmp_path / "small.png", 1).flatten().tolist() == [255, 0]


def test_a_dim_image_of_16_bits_in_a_png_keeps_its_levels(tmp_path: Path) -> None:
    levels = noise(6, 9, top=256, dtype=np.uint16)
    assert_equal(decode_image(save_image(tmp_path, "dim.png", levels), 1), levels[None].astype(float))
