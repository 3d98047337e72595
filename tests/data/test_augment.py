"""Augmented images are crops and flips of their originals."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from image_files import assert_equal, noise

from viewfinder.data.augment import Basic
from viewfinder.data.seeding import make_generator


def all_crops(image: np.ndarray, padding: int) -> Iterator[tuple[tuple[int, int, bool], np.ndarray]]:
    """Every (top, left, flipped) of a (C, H, W) image and what it looks like, by slicing alone."""
    height, width = image.shape[1:]
    padded = np.pad(image, ((0, 0), (padding, padding), (padding, padding)))
    for top in range(2 * padding + 1):
        for left in range(2 * padding + 1):
            piece = padded[:, top : top + height, left : left + width]
            yield (top, left, False), piece
            yield (top, left, True), piece[:, :, ::-1]


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 6, 9), (3, 9, 6)])
def test_every_augmented_image_is_one_of_its_crops_and_all_crops_occur(shape: tuple[int, ...]) -> None:
    image = noise(*shape) | 1
    which = {crop.tobytes(): place for place, crop in all_crops(image, 2)}
    assert len(which) == 50
    batch = torch.from_numpy(np.repeat(image[None], 1000, axis=0))
    result = Basic(padding=2, flip=0.5)(batch, make_generator(1, "augment"))
    assert result.dtype == torch.uint8
    assert result.shape == batch.shape
    actual = [which[item.numpy().tobytes()] for item in result]  # KeyError if it is none of them
    assert set(actual) == set(which.values())
    assert 400 < sum(flipped for _, _, flipped in actual) < 600


def test_each_image_is_cropped_from_itself_with_numbers_of_its_own() -> None:
    images = noise(64, 3, 8, 8) | 1
    result = Basic(padding=3)(torch.from_numpy(images), make_generator(2, "augment")).numpy()
    places = []
    for image, actual in zip(images, result, strict=True):
        places += [place for place, crop in all_crops(image, 3) if np.array_equal(crop, actual)]
    assert len(places) == 64
    assert len(set(places)) > 32


def test_augmentation_by_the_same_drawn_numbers_equals_a_plain_loop() -> None:
    images, padding, flip = noise(40, 3, 7, 10), 2, 0.3
    drawn = make_generator(5, "augment", 1, 2)
    top, left = torch.randint(2 * padding + 1, (2, 40, 1), generator=drawn).squeeze(-1).tolist()
    flipped = (torch.rand(40, 1, generator=drawn) < flip).squeeze(-1).tolist()
    expected = [
        dict(all_crops(image, padding))[t, x, f]
        for image, t, x, f in zip(images, top, left, flipped, strict=True)
    ]  # fmt: skip
    actual = Basic(padding, flip)(torch.from_numpy(images), make_generator(5, "augment", 1, 2))
    assert_equal(actual, np.stack(expected))


def test_no_padding_and_certain_flip_is_numpys_flip() -> None:
    images = noise(5, 3, 6, 8)
    assert_equal(Basic(0, 1.0)(torch.from_numpy(images), make_generator(0)), images[:, :, :, ::-1])
    assert_equal(Basic(0, 0.0)(torch.from_numpy(images), make_generator(0)), images)


def test_augmentation_follows_from_its_generator_alone_and_leaves_its_input() -> None:
    images = torch.from_numpy(noise(32, 3, 8, 8))
    kept, augment = images.clone(), Basic()
    first = augment(images, make_generator(1, "augment", 0, 0))
    torch.manual_seed(3)
    assert torch.equal(augment(images, make_generator(1, "augment", 0, 0)), first)
    assert not torch.equal(augment(images, make_generator(1, "augment", 0, 1)), first)
    assert torch.equal(images, kept)
