"""Each augmentation is its definition, for each image by itself."""

import itertools
from typing import Any

import numpy as np
import pytest
import scipy.stats
import torch
from augmented import ALL, OFF, augment, make_batch
from image_files import assert_equal, noise
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from viewfinder.data.augmentations import color
from viewfinder.data.augmentations.color import ColorJitter
from viewfinder.data.augmentations.crop import RandomCrop
from viewfinder.data.augmentations.erase import Cutout, RandomErasing
from viewfinder.data.augmentations.flip import AlternatingFlip, RandomHorizontalFlip
from viewfinder.data.augmentations.mix import CutMix, MixUp
from viewfinder.data.augmentations.pipeline import Pipeline
from viewfinder.data.augmentations.resize import ProgressiveResizing
from viewfinder.data.preprocess import Preprocess

# All of them


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 8, 8)], ids=["colour", "grey"])
def test_an_augmentation_depends_on_seed_epoch_and_batch_alone_and_leaves_its_input(
    name: str, shape: tuple[int, ...]
) -> None:
    batch = make_batch(noise(24, *shape))
    original = batch.pixels.clone()
    first = augment(ALL[name], batch)
    torch.manual_seed(9)
    again = augment(ALL[name], batch)
    assert (first.pixels.dtype, first.pixels.shape) == (torch.uint8, original.shape)
    assert torch.equal(again.pixels, first.pixels)
    assert torch.equal(batch.pixels, original)
    assert first.pixels.permute(0, 2, 3, 1).is_contiguous()  # channels_last
    if name != "progressive_resizing":
        assert not torch.equal(augment(ALL[name], batch, epoch=1).pixels, first.pixels)
        assert not torch.equal(augment(ALL[name], batch, seed=1).pixels, first.pixels)


@pytest.mark.parametrize("name", OFF)
def test_an_argument_of_zero_switches_an_augmentation_off(name: str) -> None:
    batch = make_batch(noise(8, 3, 8, 8))
    result = augment(OFF[name], batch)
    assert result.pixels is batch.pixels
    assert result.mixing is None


def test_an_augmentation_draws_the_same_whatever_the_others_are() -> None:
    batch = make_batch(noise(16, 3, 8, 8))
    preprocess = Preprocess(8)
    both = Pipeline({"flip": RandomHorizontalFlip(1.0), "crop": RandomCrop(3)}, 0, preprocess).at(0, 1)(batch)
    alone = Pipeline({"crop": RandomCrop(3)}, 0, preprocess).at(0, 1)(batch._replace(pixels=batch.pixels.flip(3)))
    assert torch.equal(both.pixels, alone.pixels)


# Crops and flips


@pytest.mark.parametrize(("border", "mode"), [("zero", "constant"), ("reflect", "reflect")])
@pytest.mark.parametrize("shape", [(3, 6, 9), (1, 5, 5)])
def test_every_crop_is_a_window_of_numpys_padded_image_and_all_windows_occur(
    border: Any, mode: Any, shape: tuple[int, ...]
) -> None:
    images, padding = noise(400, *shape) | 1, 2
    cropped = augment(RandomCrop(padding, border), make_batch(images)).pixels.numpy()
    places = set()
    for image, crop in zip(images, cropped, strict=True):
        padded = np.pad(image, ((0, 0), (padding, padding), (padding, padding)), mode=mode)
        windows = np.lib.stride_tricks.sliding_window_view(padded, shape)[0]
        (place, *_) = np.argwhere((windows == crop).all((2, 3, 4)))
        places.add(tuple(place))
    assert places == set(itertools.product(range(2 * padding + 1), repeat=2))


def test_a_border_that_reflects_more_than_the_image_is_refused() -> None:
    with pytest.raises(ValueError, match="reflects more pixels than an image of 6x9 has"):
        augment(RandomCrop(6, "reflect"), make_batch(noise(2, 3, 6, 9)))


def test_about_the_given_share_of_images_is_mirrored() -> None:
    images = noise(2000, 1, 2, 4)
    flipped = augment(RandomHorizontalFlip(0.3), make_batch(images)).pixels.numpy()
    is_flipped = (flipped == images[..., ::-1]).all((1, 2, 3))
    assert (is_flipped | (flipped == images).all((1, 2, 3))).all()
    assert 0.25 < is_flipped.mean() < 0.35


def test_alternating_flip_mirrors_a_random_half_in_even_epochs_and_the_other_half_in_odd_ones() -> None:
    images = noise(1000, 3, 4, 6)
    mirrored = images[..., ::-1]

    def find_flipped(epoch: int, seed: int = 0, order: np.ndarray | None = None) -> np.ndarray:
        positions = np.arange(1000) if order is None else order
        batch = make_batch(images[positions], torch.from_numpy(positions), number=epoch)
        result = augment(AlternatingFlip(), batch, epoch, seed).pixels.numpy()
        is_flipped = (result == mirrored[positions]).all((1, 2, 3))
        assert (is_flipped != (result == images[positions]).all((1, 2, 3))).all()
        return is_flipped

    first = find_flipped(0)
    assert 430 < first.sum() < 570
    assert (find_flipped(1) == ~first).all()
    assert (find_flipped(2) == first).all()
    order = np.random.default_rng(0).permutation(1000)[:300]
    assert (find_flipped(4, order=order) == first[order]).all()  # whichever batch an image is in
    assert 430 < (find_flipped(0, seed=1) == first).sum() < 570
    assert 430 < (first[1:] == first[:-1]).sum() < 570  # neighbours are independent


# Erased rectangles


def test_cutout_fills_a_square_around_any_pixel_with_the_mean() -> None:
    count, size, side = 600, 4, 6
    images = np.full((count, 3, side, side), 255, np.uint8)
    result = augment(Cutout(size), make_batch(images), mean=(0.5, 0.2, 0.0)).pixels.numpy()
    squares = set()
    for top, left in itertools.product(range(side), repeat=2):  # the centre
        expected = images[0].copy()
        rows, columns = (slice(max(0, at - size // 2), at + size // 2) for at in (top, left))
        expected[:, rows, columns] = np.array([128, 51, 0])[:, None, None]
        squares.add(expected.tobytes())
    assert {image.tobytes() for image in result} == squares
    erased = augment(Cutout(2, 0.25), make_batch(images)).pixels.numpy() == 0
    assert 0.18 < erased.any((1, 2, 3)).mean() < 0.32


def test_random_erasing_draws_what_torchvisions_draws_for_single_images() -> None:
    shape = (1, 20, 14)
    white = torch.full((1500, *shape), 255, dtype=torch.uint8)
    torch.manual_seed(0)
    theirs = torch.stack([v2.RandomErasing(0.5, value=0)(image) for image in white]).numpy()
    ours = augment(RandomErasing(0.5), make_batch(white)).pixels.numpy()
    described = []
    for images in (ours, theirs):
        erased = images[:, 0] == 0
        heights, widths = erased.any(2).sum(1), erased.any(1).sum(1)
        assert (erased.sum((1, 2)) == heights * widths).all()  # rectangles
        places = erased.any(2).argmax(1) + erased.any(1).argmax(1)
        has_any = heights > 0
        described.append([heights[has_any], widths[has_any], places[has_any], has_any.astype(int)])
    for own, other in zip(*described, strict=True):
        assert scipy.stats.ks_2samp(own, other).pvalue > 0.01


def test_erased_pixels_may_be_noise() -> None:
    result = augment(RandomErasing(1.0, (0.5, 0.5), (1.0, 1.0), "noise"), make_batch(np.zeros((50, 3, 20, 20), "u1")))
    assert 110 < result.pixels[result.pixels > 0].float().mean() < 145


# Colour


@pytest.mark.parametrize(
    ("change", "reference", "factors"),
    [
        (color.adjust_brightness, F.adjust_brightness, (0.0, 0.4, 1.0, 1.7)),
        (color.adjust_contrast, F.adjust_contrast, (0.0, 0.4, 1.0, 1.7)),
        (color.adjust_saturation, F.adjust_saturation, (0.0, 0.4, 1.0, 1.7)),
        (color.adjust_hue, F.adjust_hue, (-0.5, -0.1, 0.0, 0.3)),
    ],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_each_image_is_changed_by_its_own_factor_as_by_torchvision(
    change: Any, reference: Any, factors: tuple[float, ...], channels: int
) -> None:
    images = torch.from_numpy(noise(4, channels, 9, 7))
    images[:, :, 0] = images[:, :1, 0]  # grey pixels, which have no hue
    actual = change(images.float(), torch.tensor(factors)[:, None, None, None])
    expected = torch.stack([reference(image, factor) for image, factor in zip(images, factors, strict=True)])
    # torchvision cuts off levels, and grey levels before the blend.
    tolerance = 1.001 + (1 - torch.tensor(factors)).abs() * (change is not color.adjust_hue)
    assert ((actual - expected).abs().amax((1, 2, 3)) <= tolerance).all()


def test_colour_jitter_draws_factors_from_the_whole_range_for_each_image() -> None:
    images = np.full((500, 3, 2, 2), 100, np.uint8)
    brightness = augment(ColorJitter(0.3, 0.0, 0.0), make_batch(images)).pixels[:, 0, 0, 0].numpy()
    assert scipy.stats.kstest(brightness, "uniform", (70, 60)).pvalue > 0.01
    mixed = augment(ColorJitter(0.0, 0.5, 0.5, 0.1), make_batch(noise(64, 3, 4, 4))).pixels
    assert len(mixed.unique(dim=0)) == 64


# Mixtures


def test_mixup_is_the_mean_of_neighbours_weighted_by_a_beta_variable() -> None:
    images = noise(5, 3, 4, 4)
    shares = []
    for number in range(400):
        result = augment(MixUp(0.4), make_batch(images, number=number))
        assert result.mixing is not None
        assert result.mixing.labels.tolist() == [4, 0, 1, 2, 3]
        shares.append(result.mixing.share.item())
        expected = shares[-1] * images.astype(float) + (1 - shares[-1]) * images[[4, 0, 1, 2, 3]]
        assert_equal(result.pixels, expected, within=0.501)
    assert scipy.stats.kstest(shares, "beta", (0.4, 0.4)).pvalue > 0.01


def test_cutmix_pastes_the_share_of_pixels_that_the_other_label_gets() -> None:
    own = np.stack([np.full((3, 12, 10), value, np.uint8) for value in (10, 20, 30)])
    areas = []
    for number in range(300):
        result = augment(CutMix(), make_batch(own, number=number))
        assert result.mixing is not None
        pixels = result.pixels.numpy()
        is_other = pixels == own[[2, 0, 1]]
        assert (is_other | (pixels == own)).all()
        assert (is_other == is_other[:1, :1]).all()
        rows, columns = is_other[0, 0].any(1), is_other[0, 0].any(0)
        assert is_other[0, 0].sum() == rows.sum() * columns.sum()
        areas.append(is_other[0, 0].mean())
        assert result.mixing.share.item() == pytest.approx(1 - areas[-1])
    # torchvision's areas, which are cut off at the border in the same way
    torch.manual_seed(0)
    boxes = [v2.CutMix(num_classes=3).make_params([torch.zeros(3, 3, 12, 10)]) for _ in range(300)]
    assert scipy.stats.ks_2samp(areas, [1 - box["lam_adjusted"] for box in boxes]).pvalue > 0.01


def test_a_batch_goes_through_one_mixture_at_most() -> None:
    pipeline = Pipeline({"mixup": MixUp(1.0, 0.3), "cutmix": CutMix(1.0, 0.5)}, 0, Preprocess(4))
    kinds = {"mixup": 0, "cutmix": 0, "none": 0}
    for number in range(1000):
        result = pipeline.at(0, 1)(make_batch(np.array([[[[0] * 4] * 4], [[[200] * 4] * 4]], "u1"), number=number))
        is_mean = bool(((result.pixels > 0) & (result.pixels < 200)).any())
        kinds["none" if result.mixing is None else "mixup" if is_mean else "cutmix"] += 1
    assert kinds["mixup"] == pytest.approx(300, abs=50)
    assert kinds["none"] == pytest.approx(350, abs=50)


# Sizes


def test_images_grow_linearly_to_the_full_size_and_the_last_epoch_has_it() -> None:
    resizing = ProgressiveResizing(0.5, 0.7, multiple=4)
    assert [resizing.size_at(epoch, 10, 32) for epoch in range(10)] == [16, 20, 20, 24, 24, 28, 28, 32, 32, 32]
    assert [ProgressiveResizing(0.5, 1.0).size_at(epoch, 3, 32) for epoch in range(3)] == [16, 24, 32]
    assert [ProgressiveResizing(0.5, 1.0).size_at(0, epochs, 32) for epochs in (1, 0, -1)] == [32] * 3
    assert ProgressiveResizing(0.0, multiple=3).size_at(0, 10, 32) == 3


@pytest.mark.parametrize(("resize_size", "crop"), [(None, None), (36, 27)])
def test_smaller_images_are_torchvisions_resized_ones(resize_size: int | None, crop: int | None) -> None:
    images = torch.from_numpy(noise(2, 3, 40, 48))
    actual = Preprocess(32, resize_size=resize_size).resize_to(images, 24)
    expected = F.resize(images, [24, 24] if crop is None else [crop], antialias=True)
    expected = F.center_crop(expected, [24, 24])
    assert actual.dtype == torch.uint8
    assert (actual.float() - expected.float()).abs().max() <= 1
    torch.testing.assert_close(Preprocess(32)(actual, is_resized=True), actual / 255)
