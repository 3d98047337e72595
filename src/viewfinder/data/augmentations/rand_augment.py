"""RandAugment and TrivialAugment: random operations on each image."""

from typing import Annotated

import numpy as np
from pydantic import Field
from torch import Generator, Tensor

from viewfinder.config.validate import Whole
from viewfinder.data.augmentations.operations import LEVELS, apply_operations, draw_magnitudes, list_magnitudes


class RandAugment:
    """Random operations on each image, all of one magnitude.

    Cubuk et al. 2019, "RandAugment: Practical automated data augmentation with a reduced search space" (arXiv
    1909.13719), with the fourteen operations and the magnitudes of torchvision.

    Args:
        operations: number of operations on each image, one after the other; 0 changes nothing.
        magnitude: from 0, which changes little, to 30.
    """

    def __init__(self, operations: Whole = 2, magnitude: Annotated[int, Field(ge=0, lt=LEVELS)] = 9):
        self.operations, self.magnitude = operations, magnitude

    def __call__(self, pixels: Tensor, generator: Generator) -> Tensor:
        """Map (N, C, H, W) uint8 to the same shape."""
        rng = np.random.default_rng(generator.initial_seed())
        height, width = pixels.shape[-2:]
        largest = list_magnitudes(0.3, (150 / 331 * width, 150 / 331 * height), 30.0, 0.9, 4.0)
        for _ in range(self.operations):
            chosen = rng.integers(len(largest), size=len(pixels))
            magnitudes = draw_magnitudes(largest, chosen, self.magnitude, rng)
            pixels = apply_operations(pixels, [*largest], chosen, magnitudes)
        return pixels


class TrivialAugmentWide:
    """One random operation on each image, of a random magnitude.

    Müller and Hutter 2021, "TrivialAugment: Tuning-free Yet State-of-the-Art Data Augmentation" (arXiv 2103.10158),
    with its wide space of fourteen operations.
    """

    def __call__(self, pixels: Tensor, generator: Generator) -> Tensor:
        """Map (N, C, H, W) uint8 to the same shape."""
        rng = np.random.default_rng(generator.initial_seed())
        largest = list_magnitudes(0.99, (32.0, 32.0), 135.0, 0.99, 6.0)
        chosen = rng.integers(len(largest), size=len(pixels))
        magnitudes = draw_magnitudes(largest, chosen, rng.integers(LEVELS, size=len(pixels)), rng)
        return apply_operations(pixels, [*largest], chosen, magnitudes)
