"""Identity of the image decoder, as a part of cache keys."""

import functools
import hashlib
from pathlib import Path

from PIL import features

from viewfinder.runs.provenance import read_versions

CODE = ("decode.py", "files.py", "formats.py", "image_file.py", "jpeg.py", "levels.py", "resize.py")
"""Files beside this one that turn image files into pixels: decode.py and everything that it imports."""
PACKAGES = ("pillow", "pillow-heif", "torchcodec", "numpy")
"""Packages that decode and resize images."""
LIBRARIES = ("jpg", "libjpeg_turbo", "jpg_2000", "libtiff", "webp", "avif", "zlib")
"""Libraries of Pillow, which need not come with it."""


@functools.cache
def describe_decoder() -> tuple[tuple[str, str | None], ...]:
    """Return name and version of everything that determines the pixels of an image file; None if it is missing."""
    digest = hashlib.blake2b(digest_size=16)
    for name in CODE:
        digest.update((Path(__file__).parent / name).read_bytes())
    versions = read_versions()
    return (
        ("viewfinder.data", digest.hexdigest()),
        *((name, versions.get(name)) for name in PACKAGES),
        *((name, features.version(name)) for name in LIBRARIES),
    )
