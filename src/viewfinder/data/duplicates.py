"""Image files with the same content in several splits or classes."""

import os
from collections.abc import Mapping, Sequence
from typing import BinaryIO

import numpy as np
import pandas as pd

from viewfinder.data.fingerprint import hash_files
from viewfinder.data.split import Split
from viewfinder.errors import join_first

HEAD_SIZE = 4096
"""Bytes at the start of a file that its content key covers; reading the header has buffered them."""
MAX_NAMED = 3
"""Pairs of images named in a sentence."""


def compute_content_key(file: BinaryIO) -> int:
    """Return a hash of a file's size and first bytes, without moving its position.

    Args:
        file: a buffered file at its start.
    """
    head = file.peek(1)[:HEAD_SIZE]  # type: ignore[reportAttributeAccessIssue]
    return hash((os.fstat(file.fileno()).st_size, head))


def describe_duplicates(splits: Mapping[str, Split], keys: Mapping[str, Sequence[int]]) -> list[str]:
    """Return sentences about files that are in training and in another split, or in two classes; [] for none.

    Only files whose keys are equal are read, to compare their whole content.

    Args:
        keys: split -> content keys of its files.
    """
    all_keys = pd.Series([key for name in keys for key in keys[name]], dtype="int64")
    repeated = np.flatnonzero(all_keys.duplicated(keep=False))
    if not len(repeated):
        return []
    all_places = [(name, index) for name in keys for index in range(len(keys[name]))]
    places = [all_places[position] for position in repeated]
    digests = hash_files([splits[split].content[index] for split, index in places], "comparing images")  # type: ignore[reportArgumentType]
    same_file: dict[str, list[tuple[str, int]]] = {}
    for place, digest in zip(places, digests, strict=True):
        if digest:
            same_file.setdefault(digest, []).append(place)
    leaks: dict[str, list[str]] = {"val": [], "test": []}
    in_classes = []
    for group in same_file.values():
        names = {split: splits[split].names[index] for split, index in reversed(group)}
        if "train" in names:
            for split, index in group:
                if split != "train":
                    leaks[split].append(f"{splits[split].names[index]} = {names['train']}")
        by_label = {splits[split].labels[index]: splits[split].names[index] for split, index in reversed(group)}
        if len(by_label) > 1:
            in_classes.append(" = ".join(sorted(by_label.values())))
    lines = []
    for split, pairs in leaks.items():
        lines += _describe(pairs, "also in train, as the same file", f" of {split}")
    return lines + _describe(in_classes, "in several classes, as the same file")


def _describe(pairs: Sequence[str], fact: str, split: str = "") -> list[str]:
    if not pairs:
        return []
    images = f"1 image{split} is" if len(pairs) == 1 else f"{len(pairs):,} images{split} are"
    return [f"{images} {fact}: {join_first(pairs, MAX_NAMED)}"]
