"""scikit-learn's handwritten digits: real pictures that need no network."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from viewfinder.data.module import ImageData
from viewfinder.data.split import Rows, Split


@dataclass(kw_only=True, eq=False)
class Digits(ImageData):
    """1,797 grey pictures of 8x8 in 10 classes (UCI's Optical Recognition of Handwritten Digits, test part).

    Levels 0..16 become 0..255; the network resizes them to the size it wants.
    """

    def list_pictures(self) -> tuple[list[str], dict[str, Split]]:
        from sklearn.datasets import load_digits

        digits: Any = load_digits()
        levels = torch.from_numpy(digits.images).unsqueeze(3)
        pixels = (levels * (255 / 16)).round().byte()

        names = np.array([f"digits/{number:04}" for number in range(len(pixels))])
        classes = [str(name) for name in digits.target_names]
        return classes, {"train": Split(names, digits.target.astype(np.int64), Rows(pixels))}
