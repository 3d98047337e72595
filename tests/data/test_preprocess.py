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
    pictures = noise(3, channels, height, width)
    found = Preprocess(side)(torch.from_numpy(pictures))
    assert found.shape == (3, channels, side, side)
    assert found.dtype == torch.float32
    for picture, result in zip(pictures, found, strict=True):
        for channel, levels in zip(picture, result, strict=True):
            expected = Image.fromarray(channel).resize((side, side), Image.Resampling.BILINEAR)
            assert np.abs(levels.numpy() * 255 - np.asarray(expected, dtype=float)).max() <= 1.001


def test_resized_levels_are_whole_as_they_are_in_a_picture() -> None:
    levels = Preprocess(20)(torch.from_numpy(noise(4, 3, 13, 13))).numpy() * 255
    assert np.abs(levels - levels.round()).max() < 1e-3
    assert 0 <= levels.min() < levels.max() < 255.001


def test_pictures_of_the_wanted_size_are_scaled_to_0_1_and_nothing_else() -> None:
    pictures = noise(4, 3, 16, 16)
    found = Preprocess(16)(torch.from_numpy(pictures)).numpy()
    np.testing.assert_allclose(found, pictures / 255, atol=1e-7)


@pytest.mark.parametrize(("mean", "std"), [(IMAGENET_MEAN, IMAGENET_STD), ((0.5,), (0.25,))])
def test_normalisation_equals_torchvisions(mean: tuple[float, ...], std: tuple[float, ...]) -> None:
    pictures = torch.from_numpy(noise(4, len(mean), 16, 16))
    theirs = v2.Compose([v2.ToDtype(torch.float32, scale=True), v2.Normalize(list(mean), list(std))])
    np.testing.assert_allclose(Preprocess(16, mean, std)(pictures), theirs(pictures), atol=1e-5)


def test_resizing_and_normalising_equals_torchvisions_evaluation_transforms() -> None:
    pictures = torch.from_numpy(noise(4, 3, 20, 20))
    theirs = v2.Compose([
        v2.Resize((33, 33), antialias=True),
        v2.ToDtype(torch.float32, scale=True),
        v2.Normalize(list(IMAGENET_MEAN), list(IMAGENET_STD)),
    ])  # fmt: skip
    found, expected = Preprocess(33, IMAGENET_MEAN, IMAGENET_STD)(pictures), theirs(pictures)
    level = torch.tensor(IMAGENET_STD).view(3, 1, 1) * 255
    assert ((found - expected).abs() * level).max() <= 1.001
