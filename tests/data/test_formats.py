"""Images are recognised by suffix or content, and what cannot be read is named."""

import io
import os
from pathlib import Path

import numpy as np
import pytest
from conftest import Type, on_one_line
from image_data import flatten, names_by_split, open_data, rules_by_path
from image_files import assert_equal, chw, encode_image, noise, write_folder
from PIL import Image

from viewfinder.data import formats
from viewfinder.data.formats import EXTENSIONS, identify_format
from viewfinder.data.listing import find_images
from viewfinder.data.sources.image_folder import ImageFolder
from viewfinder.errors import UserError
from viewfinder.runs.folder import RunFolder

HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(500)
COPIES = ("00.png_original", "00.jpg.old", "00.save", "00.jpg.BAK", "00~")
CATS_AND_DOGS = {"cat": 6, "dog": 6}


def save_as(path: Path, kind: str) -> None:
    file, pixels = io.BytesIO(), noise(6, 8, 3)
    if kind == "QOI":  # which Pillow reads since 9.5, but writes only in later versions
        height, width, _ = pixels.shape
        rows = b"".join(b"\xfe" + pixel.tobytes() for pixel in pixels.reshape(-1, 3))
        file.write(b"qoif" + width.to_bytes(4) + height.to_bytes(4) + b"\3\0" + rows + bytes(7) + b"\1")
    else:
        Image.fromarray(pixels).save(file, kind)
    path.write_bytes(file.getvalue())


def test_every_suffix_that_is_read_belongs_to_a_format_of_pillow() -> None:
    Image.init()
    known = Image.registered_extensions()
    assert [suffix for suffix in EXTENSIONS if known.get(suffix) not in Image.OPEN] == []


@pytest.mark.parametrize("suffix", [".jfif", ".JPE", ".jp2", ".tga", ".dib", ".qoi", ".apng", ".pnm"])
def test_images_with_rarer_suffixes_are_read(tmp_path: Path, suffix: str) -> None:
    write_folder(tmp_path, CATS_AND_DOGS)
    save_as(tmp_path / "cat" / f"x{suffix}", Image.registered_extensions()[suffix.lower()])
    data = open_data(ImageFolder(root=str(tmp_path)), 8)
    places = {name: (split, n) for split, names in names_by_split(data).items() for n, name in enumerate(names)}
    split, place = places[f"cat/x{suffix}"]
    with Image.open(tmp_path / "cat" / f"x{suffix}") as image:
        assert_equal(data.images[split].pixels[place], chw(np.asarray(image.convert("RGB"))))
    assert not any("left out" in line for line in data.warnings)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP", "PPM", "JPEG2000", "QOI", "AVIF"])
def test_an_images_format_is_recognised_by_content_as_pillow_does(tmp_path: Path, kind: str) -> None:
    save_as(tmp_path / "x", kind)
    with Image.open(tmp_path / "x") as image:
        assert image.format == kind
    assert identify_format(tmp_path / "x").replace(" ", "").upper() == kind


@pytest.mark.parametrize("name", ["00123", "photo.jpg_large", "photo.jpg?w=640", "St. Peter", "scan.1", "x.bin"])
def test_an_image_is_read_by_its_content_where_the_suffix_says_nothing(tmp_path: Path, name: str) -> None:
    write_folder(tmp_path, CATS_AND_DOGS)
    (tmp_path / "cat" / name).write_bytes(encode_image("jpeg"))
    data = open_data(ImageFolder(root=str(tmp_path)), 8)
    assert f"cat/{name}" in flatten(names_by_split(data).values())


def test_files_that_are_not_images_are_counted_and_named(tmp_path: Path) -> None:
    write_folder(tmp_path, CATS_AND_DOGS)
    before = names_by_split(open_data(ImageFolder(root=str(tmp_path))))
    for name in ("a.txt", "b.txt", "c.json", "README"):
        (tmp_path / "cat" / name).write_text("no image")
    for name in ("00.png~", "01.png.bak", "02.jpg.part", ".hidden.jpg", ".x.jpg.icloud", *COPIES):
        (tmp_path / "dog" / name).write_bytes(encode_image("png"))
    os.mkfifo(tmp_path / "dog" / "pipe")
    data = open_data(ImageFolder(root=str(tmp_path), stratify=False))
    assert names_by_split(data) == before
    warning = next(line for line in data.warnings if "left out" in line)
    assert warning.startswith("left out 15 files (hidden, or not images; 3 without suffix, 2 .txt, ")
    assert warning.endswith(": cat/README, cat/a.txt, cat/b.txt and 12 more")


def test_only_files_whose_suffix_says_nothing_are_opened_to_be_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_folder(tmp_path, {"cat": 6})
    for name in ("a.txt", "b.json", "c.heic", "nothing"):
        (tmp_path / "cat" / name).write_bytes(HEIC)
    opened: list[str] = []
    identify = identify_format
    monkeypatch.setattr(formats, "identify_format", lambda path: opened.append(path.name) or identify(path))
    assert [path.name for path in find_images([tmp_path]).images] == [f"{n:02}.png" for n in range(6)] + [
        "c.heic",
        "nothing",
    ]
    assert opened == ["nothing"]


@pytest.mark.parametrize(
    ("name", "content", "format_name"),
    [
        ("x.HEIC", HEIC, "HEIC"), ("x.jpg", HEIC, "HEIC"), ("x", HEIC, "HEIC"), ("x.nef", None, "camera raw"),
        ("x.jxl", b"\xff\x0a" + bytes(90), "JPEG XL"), ("x", bytes(128) + b"DICM" + bytes(90), "DICOM"),
    ],
)  # fmt: skip
def test_an_image_of_an_unsupported_format_is_refused_or_skipped_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, content: bytes | None, format_name: str
) -> None:
    monkeypatch.setattr(formats, "_register_heif", lambda: False)
    write_folder(tmp_path, CATS_AND_DOGS)
    path = tmp_path / "cat" / name
    path.write_bytes(content or encode_image("tiff"))  # raw files contain a small TIFF
    with pytest.raises(UserError) as caught:
        open_data(ImageFolder(root=str(tmp_path)))
    assert rules_by_path(caught)[str(path)].startswith(f"unsupported image format: {format_name}. Convert it")
    data = open_data(ImageFolder(root=str(tmp_path), on_error="skip"))
    ((skipped, reason),) = data.skipped
    assert (skipped, format_name in reason) == (f"cat/{name}", True)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "is a Git LFS pointer"),
        (b"\n<!DOCTYPE html><title>404</title>", "is a web page"),
        (b'<?xml version="1.0"?><svg></svg>', "is an SVG drawing"),
        (b"something else", "unsupported or corrupt image file"),
    ],
)
def test_a_file_that_is_not_the_image_that_its_suffix_promises_is_refused_as_what_it_is(
    tmp_path: Path, content: bytes, expected: str
) -> None:
    write_folder(tmp_path, CATS_AND_DOGS)
    (tmp_path / "cat" / "x.jpg").write_bytes(content)
    with pytest.raises(UserError) as caught:
        open_data(ImageFolder(root=str(tmp_path)))
    assert rules_by_path(caught)[str(tmp_path / "cat" / "x.jpg")].startswith(expected)


def test_predict_reads_and_names_the_files_that_train_reads_and_names(
    tmp_path: Path, finished: RunFolder, viewfinder: Type
) -> None:
    write_folder(tmp_path, {"new": 2})
    save_as(tmp_path / "new" / "x.jfif", "JPEG")
    (tmp_path / "new" / "notes.txt").write_text("no image")
    answer = viewfinder("predict", finished.path, tmp_path)
    assert (answer.code, answer.out.count("new/")) == (0, 3)
    assert "left out 1 file (hidden, or not an image; 1 .txt)" in on_one_line(answer.err)
    (tmp_path / "new" / "y.nef").write_bytes(encode_image("tiff"))
    answer = viewfinder("predict", finished.path, tmp_path)
    assert (answer.code, answer.out.count("new/")) == (2, 3)
    assert "y.nef\n    unsupported image format: camera raw" in answer.err
