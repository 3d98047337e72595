"""Preprocessing gives what Pillow and torchvision give."""

import numpy as np
import pytest
import torch
from conftest import noise
from PIL import Image
from torchvision.transforms import v2

from viewfinder.data.preprocess import Preprocess

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("height", "width", "side"), [(8, 8, 32), (32, 32, 80), (64, 64, 24), (50, 21, 32), (5, 40, 16)]
)
def test_resizing_equals_pillows_bilinear_resize(height: int, width: int, side: int, channels: int) -> None:
    images = noise(3, channels, height, width)
    actual = Preprocess(side)(torch.from_numpy(images))
    assert actual.shape == (3, channels, side, side)
    assert actual.dtype == torch.float32
    for image, result in zip(images, actual, strict=True):
        for channel, levels in zip(image, result, strict=True):
            expected = Image.fromarray(channel).resize((side, side), Image.Resampling.BILINEAR)
            assert np.abs(levels.numpy() * 255 - np.asarray(expected, dtype=float)).max() <= 1.001


def test_resized_levels_are_whole_as_they_are_in_an_image() -> None:
    levels = Preprocess(20)(torch.from_numpy(noise(4, 3, 13, 13))).numpy() * 255
    assert np.abs(levels - levels.round()).max() < 1e-3
    assert 0 <= levels.min() < levels.max() < 255.001


def test_images_of_the_wanted_size_are_scaled_to_0_1_and_nothing_else() -> None:
    images = noise(4, 3, 16, 16)
    actual = Preprocess(16)(torch.from_numpy(images)).numpy()
    np.testing.assert_allclose(actual, images / 255, atol=1e-7)


@pytest.mark.parametrize(("mean", "std"), [(IMAGENET_MEAN, IMAGENET_STD), ((0.5,), (0.25,))])
def test_normalisation_equals_torchvisions(mean: tuple[float, ...], std: tuple[float, ...]) -> None:
    images = torch.from_numpy(noise(4, len(mean), 16, 16))
    theirs = v2.Compose([v2.ToDtype(torch.float32, scale=True), v2.Normalize(list(mean), list(std))])
    np.testing.assert_allclose(Preprocess(16, mean, std)(images), theirs(images), atol=1e-5)


def test_resizing_and_normalising_equals_torchvisions_evaluation_transforms() -> None:
    images = torch.from_numpy(noise(4, 3, 20, 20))
    theirs = v2.Compose([
        v2.Resize((33, 33), antialias=True),
        v2.ToDtype(torch.float32, scale=True),
        v2.Normalize(list(IMAGENET_MEAN), list(IMAGENET_STD)),
    ])  # fmt: skip
    actual, expected = Preprocess(33, IMAGENET_MEAN, IMAGENET_STD)(images), theirs(images)
    level = torch.tensor(IMAGENET_STD).view(3, 1, 1) * 255
    assert ((actual - expected).abs() * level).max() <= 1.001
