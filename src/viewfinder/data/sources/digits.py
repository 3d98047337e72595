"""scikit-learn's handwritten digits, which need no download."""

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from viewfinder.data.module import ImageData
from viewfinder.data.split import ImageRows, Split

FILE = Path("datasets") / "data" / "digits.csv.gz"
"""Place in scikit-learn: 64 levels and the digit in each row."""


@dataclass(kw_only=True, eq=False)
class Digits(ImageData):
    """1,797 grey images of 8x8 in 10 classes (UCI Optical Recognition of Handwritten Digits, test part).

    Levels 0..16 are scaled to 0..255.
    """

    def list_pictures(self) -> tuple[list[str], dict[str, Split]]:
        return read_digits()


def read_digits() -> tuple[list[str], dict[str, Split]]:
    """Return the class names and all digits as the training split."""
    images, labels = _read_file() or _load()
    pixels = (torch.from_numpy(images).unsqueeze(3) * (255 / 16)).round().byte()
    names = np.array([f"digits/{number:04}" for number in range(len(pixels))])
    class_names = [str(digit) for digit in range(10)]
    return class_names, {"train": Split(names, labels.astype(np.int64), ImageRows(pixels))}


def _read_file() -> tuple[np.ndarray, np.ndarray] | None:
    """Read scikit-learn's file, since importing sklearn.datasets takes a second; None if it is not where it was."""
    package = importlib.util.find_spec("sklearn")
    for folder in package.submodule_search_locations or () if package else ():
        if (path := Path(folder) / FILE).is_file():
            rows = np.loadtxt(path, delimiter=",")
            return rows[:, :-1].reshape(-1, 8, 8), rows[:, -1]
    return None


def _load() -> tuple[np.ndarray, np.ndarray]:
    from sklearn.datasets import load_digits

    digits: Any = load_digits()
    return digits.images, digits.target
