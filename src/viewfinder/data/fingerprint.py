"""Fingerprint of a split's content."""

import hashlib

from viewfinder.data.batches import SplitImages
from viewfinder.data.split import Split


def compute_fingerprint(split: Split, images: SplitImages) -> str:
    """Return a hash of a split's names, labels and images; for streamed images, file sizes stand in for the content."""
    digest = hashlib.blake2b(digest_size=16)
    digest.update("\0".join(split.names).encode("utf-8", "surrogateescape"))
    digest.update(images.labels.numpy().tobytes())
    digest.update(repr((len(images), *images.shape)).encode())
    for block in images.iterate_bytes():
        digest.update(block)
    return digest.hexdigest()
