"""The exportable resizes give the bits of Pillow and of the device."""

import numpy as np
import pytest
import torch
from conftest import noise
from PIL import Image

from viewfinder.data.exportable_resize import MatrixResize, PillowResize
from viewfinder.data.resize import Interpolation, Resize

SIZES = [(32, 32), (24, 24), (24, 90), (90, 24), (61, 47), (7, 5), (1, 1), (150, 40), (200, 9), (9, 200), (33, 300)]
"""Equal to the result, in one direction only, larger, smaller, tall, and so long that Pillow crops first."""


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("cover", [None, (24, 24), (27, 27)])
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_images_of_any_size_are_resized_as_by_pillow_bit_for_bit(
    height: int, width: int, cover: tuple[int, int] | None, interpolation: Interpolation
) -> None:
    resize = Resize(24, 24, cover, interpolation)
    images = noise(2, height, width, 3)
    images[1] = images[1] // 128 * 255  # sharp edges, where bicubic weights overshoot
    expected = [np.asarray(resize.resize_image(Image.fromarray(image))) for image in images]
    actual = PillowResize(resize)(torch.from_numpy(images).permute(0, 3, 1, 2))
    assert actual.dtype == torch.uint8
    np.testing.assert_array_equal(actual.permute(0, 2, 3, 1), np.stack(expected))


def test_a_result_that_is_not_square_is_resized_as_by_pillow() -> None:
    image = noise(70, 31)
    expected = Image.fromarray(image).resize((50, 19), Image.Resampling.BILINEAR)
    actual = PillowResize(Resize(19, 50))(torch.from_numpy(image)[None, None])
    np.testing.assert_array_equal(actual[0, 0], np.asarray(expected))


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("cover", [None, (64, 64), (73, 73)])
@pytest.mark.parametrize(("height", "width"), [(64, 64), (32, 32), (28, 28), (20, 33), (64, 30)])
def test_images_of_one_size_are_resized_as_on_the_device_bit_for_bit(
    height: int, width: int, cover: tuple[int, int] | None, interpolation: Interpolation
) -> None:
    resize = Resize(64, 64, cover, interpolation)
    levels = torch.from_numpy(noise(3, 3, height, width)).float().contiguous(memory_format=torch.channels_last)
    expected = resize.resize_pixels(levels.clone())
    assert torch.equal(MatrixResize(resize, height, width).resize_pixels(levels), expected)
