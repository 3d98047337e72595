"""Result of an audit, from the images alone or with likely label errors."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from torch import Tensor

from viewfinder.data.audit.duplicates import Duplicates, find_duplicates
from viewfinder.data.audit.scan import Scan, scan_images
from viewfinder.data.audit.suspects import find_blank
from viewfinder.data.decode import decode_image
from viewfinder.data.split import ImageRows, Split
from viewfinder.data.table import Table


class Audit(NamedTuple):
    """Facts, duplicates and suspects of the images of some splits; images are numbered by the rows of `table`."""

    splits: Mapping[str, Split]
    class_names: list[str]
    table: Table
    """facts of each image, as in `Scan`"""
    blank: np.ndarray
    """whether each image is blank, (N,) bool"""
    duplicates: Duplicates
    suspects: Table
    """as `list_suspects`"""

    def read_image(self, row: int) -> Tensor:
        """Read an image, (C, H, W) uint8.

        Raises:
            Exception: as `decode_image`.
        """
        for split in self.splits.values():
            if row < len(split):
                content = split.content
                if isinstance(content, ImageRows):
                    return content.base[content.indices[row]].permute(2, 0, 1)
                return decode_image(content[row], 3)
            row -= len(split)
        raise IndexError(row)


def scan_and_compare(
    splits: Mapping[str, Split], folder: Path, min_correlation: float
) -> tuple[Scan, np.ndarray, Duplicates]:
    """Read all images, and find blank ones and duplicates.

    Args:
        folder: folder for temporary files.
        min_correlation: as `find_duplicates`.
    """
    scan = scan_images(splits, folder)
    blank = find_blank(scan.thumbnails)
    skipped = blank | (scan.table["problem"] != "").to_numpy()
    return scan, blank, find_duplicates(scan, skipped, min_correlation)
