"""Fingerprints of the content of splits and files."""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from viewfinder.data.batches import SplitImages
from viewfinder.data.decode_parallel import map_in_threads
from viewfinder.data.files import open_stable
from viewfinder.data.split import Split

DIGEST_SIZE = 16
"""Bytes of a hash."""
READ_BYTES = 2**20
"""Bytes of a file read at once."""


def compute_fingerprint(split: Split, images: SplitImages) -> str:
    """Return a hash of a split's names, labels and images; for streamed images, file sizes stand in for the content."""
    digest = hashlib.blake2b(digest_size=DIGEST_SIZE)
    digest.update("\0".join(split.names).encode("utf-8", "surrogateescape"))
    digest.update(images.labels.numpy().tobytes())
    digest.update(repr((len(images), *images.shape)).encode())
    for block in images.iterate_bytes():
        digest.update(block)
    return digest.hexdigest()


def hash_files(paths: Sequence[Path], description: str) -> list[str]:
    """Return a hash of the content of each file; '' if a file cannot be read.

    Args:
        description: text of the progress bar.
    """

    def hash_part(part: Sequence[Path]) -> Iterator[str]:
        return map(_hash_file, part)

    return map_in_threads(hash_part, paths, description)


def _hash_file(path: Path) -> str:
    try:
        with open_stable(path, buffering=0) as file:
            digest = hashlib.blake2b(digest_size=DIGEST_SIZE)
            while block := file.read(READ_BYTES):
                digest.update(block)
            return digest.hexdigest()
    except OSError:
        return ""
