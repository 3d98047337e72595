"""Each corruption does what Pillow or SciPy does to the same images."""

import numpy as np
import pytest
import torch
from conftest import raises_user_error
from PIL import Image, ImageEnhance
from scenes import draw_scene
from scipy import fft, ndimage, stats
from torch import Tensor

from viewfinder.data.corruptions import CORRUPTIONS, Place, select_corruptions

COUNT, SIDE = 18, 32
UNCHANGED = {"scale", "contrast", "brightness"}
"""Corruptions whose factor is 1 for the original images."""


@pytest.fixture(scope="module")
def images() -> Tensor:
    """18 scenes, (18, 3, 32, 32) uint8 in channels_last."""
    scenes = [np.asarray(draw_scene(number).convert("RGB").resize((SIDE, SIDE))) for number in range(COUNT)]
    return torch.from_numpy(np.stack(scenes)).permute(0, 3, 1, 2)


def corrupt(images: Tensor, name: str, strength: float, first: int = 0) -> np.ndarray:
    """Return corrupted images as (N, C, H, W) int16."""
    changed = CORRUPTIONS[name].apply(images, strength, Place(first, 0, 0))
    assert (changed.shape, changed.dtype) == (images.shape, torch.uint8)
    return changed.numpy().astype(np.int16)


def assert_close(found: np.ndarray, expected: np.ndarray, levels: float = 1.01) -> None:
    assert np.abs(found - expected).max() <= levels


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_each_strength_changes_images_and_a_later_one_changes_them_more(name: str, images: Tensor) -> None:
    original = images.numpy().astype(np.int16)
    levels = CORRUPTIONS[name].levels
    changes = [0.0 if level is None else np.abs(corrupt(images, name, level) - original).mean() for level in levels]
    place = levels.index(None)
    assert changes == [*sorted(changes[:place], reverse=True), 0.0, *sorted(changes[place + 1 :])]
    assert sorted(set(changes)) == sorted(changes)
    if name in UNCHANGED:
        assert_close(corrupt(images, name, 1.0), original)


@pytest.mark.parametrize(("name", "mode"), [("shift", "constant"), ("shift_reflect", "mirror")])
def test_a_shift_is_scipys_in_turn_up_right_down_and_left(name: str, mode: str, images: Tensor) -> None:
    for percent, pixels in ((3.0, 1), (6.0, 2), (12.5, 4), (25.0, 8)):
        found = corrupt(images, name, percent)
        for position, image in enumerate(images.numpy()):
            offset = pixels * np.array([(-1, 0), (0, 1), (1, 0), (0, -1)][position % 4])
            np.testing.assert_array_equal(found[position], ndimage.shift(image, (0, *offset), order=0, mode=mode))


def transform(image: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Map an image, (C, H, W), by SciPy about its centre; `matrix` maps rows and columns of the result to its own."""
    centre = np.full(2, (SIDE - 1) / 2)
    planes = [
        ndimage.affine_transform(plane.astype(float), matrix, centre - matrix @ centre, order=1, mode="grid-constant")
        for plane in image
    ]
    return np.stack(planes).round()


def test_scaling_is_scipys_about_the_centre(images: Tensor) -> None:
    for factor in CORRUPTIONS["scale"].strengths:
        expected = [transform(image, np.eye(2) / factor) for image in images.numpy()]
        assert_close(corrupt(images, "scale", factor), np.stack(expected))


def test_a_rotation_is_scipys_in_turn_clockwise_and_counterclockwise(images: Tensor) -> None:
    for degrees in CORRUPTIONS["rotation"].strengths:
        expected = []
        for position, image in enumerate(images.numpy()):
            angle = np.radians(-degrees if position % 2 else degrees)
            matrix = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
            expected.append(transform(image, matrix))
        assert_close(corrupt(images, "rotation", degrees), np.stack(expected))


def test_a_rotation_is_pillows_in_the_direction_of_clocks(images: Tensor) -> None:
    """Pillow interpolates the border in another way, and with less precision."""
    found = corrupt(images[:1], "rotation", 30.0)[0, :, 8:-8, 8:-8]
    pillow = Image.fromarray(images[0].permute(1, 2, 0).numpy()).rotate(-30, Image.Resampling.BILINEAR)
    assert_close(found, np.asarray(pillow).transpose(2, 0, 1)[:, 8:-8, 8:-8].astype(np.int16), levels=2)


def test_a_shear_is_scipys_along_the_rows(images: Tensor) -> None:
    for degrees in CORRUPTIONS["shear"].strengths:
        found = corrupt(images, "shear", degrees)
        for position, image in enumerate(images.numpy()):
            tangent = np.tan(np.radians(-degrees if position % 2 else degrees))
            assert_close(found[position], transform(image, np.array([[1, 0], [tangent, 1]])))


def test_blur_is_scipys_gaussian_filter(images: Tensor) -> None:
    for percent in CORRUPTIONS["blur"].strengths:
        sigma = percent / 100 * SIDE
        options = {"sigma": (0, 0, sigma, sigma), "radius": (0, 0, *[int(np.ceil(4 * sigma))] * 2), "mode": "mirror"}
        expected = ndimage.gaussian_filter(images.numpy().astype(float), **options)
        assert_close(corrupt(images, "blur", percent), expected.round())


def test_noise_is_normal_with_the_given_deviation_and_a_function_of_seed_and_batch() -> None:
    grey = torch.full((8, 3, 32, 32), 128, dtype=torch.uint8)
    noise, corruption = (corrupt(grey, "noise", 10.0) - 128).ravel(), CORRUPTIONS["noise"]
    # Rounding to whole levels adds a uniform part of half a level; the p-value of a fixed seed does not vary.
    spread = np.random.default_rng(0).uniform(-0.5, 0.5, len(noise))
    assert stats.kstest((noise + spread) / 25.5, "norm").pvalue > 0.01
    assert noise.std() == pytest.approx(25.5, rel=0.02)
    same, other_batch, other_seed = (
        corruption.apply(grey, 10.0, place) for place in (Place(64, 0, 0), Place(0, 0, 1), Place(0, 1, 0))
    )
    np.testing.assert_array_equal(same.numpy().ravel().astype(np.int16) - 128, noise)
    for other in (other_batch, other_seed):
        assert abs(np.corrcoef(other.numpy().ravel(), noise)[0, 1]) < 0.05
    assert set(np.unique(corruption.apply(grey * 0 + 255, 20.0, Place(0, 0, 0)))) <= set(range(256))


@pytest.mark.parametrize(
    ("name", "enhance"), [("contrast", ImageEnhance.Contrast), ("brightness", ImageEnhance.Brightness)]
)
def test_contrast_and_brightness_are_pillows(name: str, enhance: type, images: Tensor) -> None:
    for factor in CORRUPTIONS[name].strengths:
        pillow = [enhance(Image.fromarray(image.permute(1, 2, 0).numpy())).enhance(factor) for image in images]
        expected = np.stack([np.asarray(image).transpose(2, 0, 1) for image in pillow]).astype(np.int16)
        assert_close(corrupt(images, name, factor), expected, levels=2)


QUANTIZATION = """
16 11 10 16 24 40 51 61 12 12 14 19 26 58 60 55 14 13 16 24 40 57 69 56 14 17 22 29 51 87 80 62
18 22 37 56 68 109 103 77 24 35 55 64 81 104 113 92 49 64 78 87 103 121 120 101 72 92 95 98 112 100 103 99
"""
"""Table K.1 of the JPEG standard, for luminance."""


def test_compression_of_grey_images_is_the_rounded_cosine_transform_of_the_standard(images: Tensor) -> None:
    """SciPy's exact transform; libjpeg's is in whole numbers, so that few values are rounded to another step."""
    grey = images[:, :1]
    blocks = grey.numpy().reshape(COUNT, 4, 8, 4, 8).astype(float) - 128
    for quality in CORRUPTIONS["jpeg"].strengths:
        percent = 5000 / quality if quality < 50 else 200 - 2 * quality
        steps = np.clip((np.array(QUANTIZATION.split(), int).reshape(8, 1, 8) * percent + 50) // 100, 1, 255)
        rounded = np.round(fft.dctn(blocks, axes=(2, 4), norm="ortho") / steps) * steps
        expected = np.clip(fft.idctn(rounded, axes=(2, 4), norm="ortho") + 128, 0, 255).round().reshape(grey.shape)
        differences = np.abs(corrupt(grey, "jpeg", quality) - expected)
        assert (differences <= 1).mean() > 0.95
        assert differences.mean() < 0.2


def test_compression_of_colour_images_loses_less_of_the_grey_than_of_the_colour(images: Tensor) -> None:
    to_grey = np.array([0.299, 0.587, 0.114])[:, None, None]
    change = corrupt(images, "jpeg", 30.0) - images.numpy().astype(np.int16)
    grey = (change * to_grey).sum(axis=1, keepdims=True)
    assert 0 < np.abs(grey).mean() < np.abs(change - grey).mean() < 20


@pytest.mark.parametrize("shape", [(1, 9), (9, 1), (1, 1)])
@pytest.mark.parametrize("channels", [1, 3])
def test_images_one_pixel_high_or_wide_are_compressed(shape: tuple[int, int], channels: int) -> None:
    images = torch.full((2, channels, *shape), 128, dtype=torch.uint8)
    assert np.abs(corrupt(images, "jpeg", 90.0) - 128).max() <= 1


def test_occlusion_covers_one_rectangle_of_the_given_size_at_each_of_nine_places(images: Tensor) -> None:
    places = set()
    for position, image in enumerate(corrupt(images // 2, "occlusion", 30.0)):  # halved: no pixel is grey already
        is_covered = (image == 128).all(axis=0)
        regions, count = ndimage.label(is_covered)
        (found,) = ndimage.find_objects(regions)
        assert count == 1
        assert is_covered.sum() == 10 * 10  # 30% of 32 is 9.6
        assert [part.stop - part.start for part in found] == [10, 10]
        np.testing.assert_array_equal(image[:, ~is_covered], images[position].numpy()[:, ~is_covered] // 2)
        places.add((found[0].start, found[1].start))
    assert places == {(row, column) for row in (0, 11, 22) for column in (0, 11, 22)}


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_an_image_is_corrupted_alike_in_every_batch(name: str, images: Tensor) -> None:
    if name == "noise":
        return
    strength = CORRUPTIONS[name].strengths[-1]
    parts = [corrupt(part, name, strength, first) for first, part in ((0, images[:7]), (7, images[7:]))]
    np.testing.assert_array_equal(np.concatenate(parts), corrupt(images, name, strength))


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_grey_and_oblong_images_of_a_few_pixels_are_corrupted(name: str) -> None:
    image = torch.arange(40, dtype=torch.uint8).view(1, 1, 5, 8) * 6
    assert all(corrupt(image, name, strength).std() > 0 for strength in CORRUPTIONS[name].strengths)


def test_an_unknown_corruption_is_refused_with_a_suggestion_and_known_ones_are_put_in_order() -> None:
    assert select_corruptions(["noise", "shift"]) == ["shift", "noise"]
    assert select_corruptions([]) == [*CORRUPTIONS]
    with raises_user_error(r"--only = blurr Did you mean blur\?"):
        select_corruptions(["blur", "blurr"])
