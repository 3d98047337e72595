"""Image formats: recognition of image files by suffix, or by content where the suffix says nothing."""

import functools
import mimetypes
import re
from pathlib import Path
from typing import BinaryIO

from PIL import Image, UnidentifiedImageError

from viewfinder.data.files import open_stable

EXTENSIONS = (
    ".apng", ".avif", ".bmp", ".dib", ".gif", ".j2k", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm",
    ".png", ".pnm", ".ppm", ".qoi", ".tga", ".tif", ".tiff", ".webp",
)  # fmt: skip
"""Suffixes of formats that Pillow reads."""
RAW_EXTENSIONS = (".arw", ".cr2", ".cr3", ".dng", ".nef", ".nrw", ".orf", ".pef", ".raf", ".rw2", ".sr2", ".srw")
"""Suffixes of camera raw files; Pillow reads the thumbnail of some of them."""
UNSUPPORTED = dict.fromkeys(RAW_EXTENSIONS, "camera raw") | {
    ".heic": "HEIC", ".heif": "HEIC", ".hif": "HEIC", ".jxl": "JPEG XL", ".exr": "OpenEXR", ".dcm": "DICOM",
}  # fmt: skip
"""Suffix -> format of image files that Pillow cannot read by itself."""
IMAGE_EXTENSIONS = frozenset((*EXTENSIONS, *UNSUPPORTED))
UNFINISHED = (
    ".backup", ".bak", ".crdownload", ".download", ".old", ".orig", ".part", ".partial", ".save", ".tmp",
)  # fmt: skip
"""Suffixes of copies and of downloads that have not ended; the content may be an image all the same."""
HEAD_SIZE = 132
"""Number of bytes at the start of a file that show its format."""
SIGNATURES = {
    name: re.compile(pattern, re.DOTALL)
    for name, pattern in {
        "JPEG": rb"\xff\xd8\xff",
        "PNG": rb"\x89PNG\r\n\x1a\n",
        "GIF": rb"GIF8[79]a",
        "WebP": rb"RIFF.{4}WEBP",
        "TIFF": rb"II[*+]\0|MM\0[*+]",
        "BMP": rb"BM.{4}\0{4}",
        "PPM": rb"P[1-6]\s+(#[^\n]*\n\s*)*\d+\s+\d+\s",
        "AVIF": rb".{4}ftypavi[fs]",
        "JPEG 2000": rb"\xff\x4f\xff\x51|\0\0\0\x0cjP  ",
        "QOI": rb"qoif",
        "HEIC": rb".{4}ftyp(hei|hev|mif1|msf1)",
        "JPEG XL": rb"\0\0\0\x0cJXL ",
        "OpenEXR": rb"\x76\x2f\x31\x01",
        "DICOM": rb".{128}DICM",
    }.items()
}
"""Format -> pattern of a file's first bytes."""
NOT_IMAGES = {
    "a Git LFS pointer, not the image. Get the image with git lfs pull": re.compile(rb"version https://git-lfs"),
    "a web page, not an image. Download the image again": re.compile(rb"\s*<(!doctype html|html)", re.IGNORECASE),
    "an SVG drawing. Convert it to PNG": re.compile(rb"\s*<(\?xml|svg)"),
}
"""Description -> pattern of the first bytes, for files that are not images but often have an image's suffix."""


def is_image(path: Path) -> bool:
    """Return whether a file is an image; it is opened only if its suffix says nothing."""
    suffix = path.suffix.lower()
    if suffix in IMAGE_EXTENSIONS:
        return True
    return _says_nothing(suffix) and not path.name.endswith("~") and bool(identify_format(path))


@functools.cache
def _says_nothing(suffix: str) -> bool:
    """Return whether a file with this suffix may be an image: .1, .jpg_large or none, but not .txt or .bak."""
    # ExifTool keeps photo.jpg_original.
    if suffix in UNFINISHED or suffix.endswith("_original"):
        return False
    # MimeTypes() does not read the system's tables, which differ between machines.
    kind, encoding = mimetypes.MimeTypes().guess_type(f"name{suffix}")
    return not encoding and kind in (None, "application/octet-stream")


def identify_format(path: Path) -> str:
    """Return the name of an image file's format from its first bytes; '' if it is none or cannot be read."""
    head = _read_head(path)
    return next((name for name, pattern in SIGNATURES.items() if pattern.match(head)), "")


def _read_head(path: Path) -> bytes:
    """Return the first bytes of a file; none if it cannot be read."""
    try:
        with open_stable(path) as file:
            return file.read(HEAD_SIZE)
    except OSError:
        return b""


def describe_unsupported(path: Path) -> str:
    """Return why Pillow cannot identify an image file."""
    name = UNSUPPORTED.get(path.suffix.lower()) or identify_format(path)
    if name in UNSUPPORTED.values():
        install = ", or pip install pillow-heif" if name == "HEIC" else ""
        return f"unsupported image format: {name}. Convert it to JPEG or PNG{install}"
    head = _read_head(path)
    descriptions = (f"is {text}" for text, pattern in NOT_IMAGES.items() if pattern.match(head))
    return next(descriptions, "unsupported or corrupt image file")


def open_image(file: BinaryIO, path: Path) -> Image.Image:
    """Open an image file with Pillow, or with pillow-heif if it is installed.

    Raises:
        UnidentifiedImageError: if the format is not supported. Camera raw files are not, although Pillow reads the
            thumbnail of some.
    """
    try:
        image = Image.open(file)
    except UnidentifiedImageError:
        if not _register_heif():
            raise
        image = Image.open(file)
    if image.format == "TIFF" and path.suffix.lower() in RAW_EXTENSIONS:
        raise UnidentifiedImageError
    return image


@functools.cache
def _register_heif() -> bool:
    """Let Pillow read HEIC files if pillow-heif is installed, and return whether it is."""
    try:
        import pillow_heif  # type: ignore[reportMissingImports]
    except ImportError:
        return False
    pillow_heif.register_heif_opener()
    return True
