"""scikit-learn's handwritten digits, which need no download."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from viewfinder.data.module import ImageData
from viewfinder.data.split import ImageRows, Split


@dataclass(kw_only=True, eq=False)
class Digits(ImageData):
    """1,797 grey images of 8x8 in 10 classes (UCI Optical Recognition of Handwritten Digits, test part).

    Levels 0..16 are scaled to 0..255.
    """

    def list_pictures(self) -> tuple[list[str], dict[str, Split]]:
        return read_digits()


def read_digits() -> tuple[list[str], dict[str, Split]]:
    """Return the class names and all digits as the training split."""
    from sklearn.datasets import load_digits

    digits: Any = load_digits()
    levels = torch.from_numpy(digits.images).unsqueeze(3)
    pixels = (levels * (255 / 16)).round().byte()
    names = np.array([f"digits/{number:04}" for number in range(len(pixels))])
    class_names = [str(name) for name in digits.target_names]
    return class_names, {"train": Split(names, digits.target.astype(np.int64), ImageRows(pixels))}
