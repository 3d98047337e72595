"""Test-time augmentation averages the answers to the published views of each image, in evaluation mode alone."""

from typing import Any

import numpy as np
import pytest
import torch
from conftest import raises_user_error, softmax
from torch import Tensor, nn

from viewfinder.data.preprocess import Preprocess
from viewfinder.models.tta import AveragedViews, classify, describe_views, set_views, single_view, validation_views

WEIGHTS = np.random.default_rng(0).normal(size=(3, 2 * 6 * 6)).astype(np.float32)


class Linear(nn.Module):
    """A network that is one matrix product."""

    def __init__(self) -> None:
        super().__init__()
        self.preprocess = Preprocess(6)

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1) @ torch.from_numpy(WEIGHTS).T


def answer(images: np.ndarray) -> np.ndarray:
    return images.reshape(len(images), -1).astype(np.float64) @ WEIGHTS.T


def mirror(images: np.ndarray) -> np.ndarray:
    return images[..., ::-1]


def shift(images: np.ndarray, start: int, pixels: int) -> np.ndarray:
    padded = np.pad(images, ((0, 0), (0, 0), (pixels, pixels), (pixels, pixels)), mode="reflect")
    return padded[:, :, start : start + 6, start : start + 6]


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(1).normal(size=(4, 2, 6, 6)).astype(np.float32)


@pytest.mark.parametrize("average", ["logits", "probabilities"])
def test_a_mirror_image_counts_as_much_as_the_image(images: np.ndarray, average: Any) -> None:
    both = [answer(images), answer(mirror(images))]
    logits = AveragedViews(average=average)(Linear(), torch.from_numpy(images)).double().numpy()
    if average == "logits":
        np.testing.assert_allclose(logits, np.mean(both, 0), atol=1e-5)
    else:
        np.testing.assert_allclose(np.exp(logits), np.mean([softmax(each) for each in both], 0), atol=1e-5)


@pytest.mark.parametrize("pixels", [1, 3])
def test_six_views_are_weighted_as_in_airbench(images: np.ndarray, pixels: int) -> None:
    def both(views: np.ndarray) -> np.ndarray:
        return 0.5 * answer(views) + 0.5 * answer(mirror(views))

    shifted = 0.5 * both(shift(images, 0, pixels)) + 0.5 * both(shift(images, 2 * pixels, pixels))
    logits = AveragedViews(translate=pixels)(Linear(), torch.from_numpy(images))
    np.testing.assert_allclose(logits, 0.5 * both(images) + 0.5 * shifted, atol=1e-5)


def test_shifts_alone_are_averaged_with_the_image(images: np.ndarray) -> None:
    shifted = 0.5 * answer(shift(images, 0, 2)) + 0.5 * answer(shift(images, 4, 2))
    logits = AveragedViews(mirror=False, translate=2)(Linear(), torch.from_numpy(images))
    np.testing.assert_allclose(logits, 0.5 * answer(images) + 0.5 * shifted, atol=1e-5)


def test_a_network_is_averaged_over_its_views_in_evaluation_mode_alone(images: np.ndarray) -> None:
    network, batch = Linear(), torch.from_numpy(images)
    single, several = network(batch), AveragedViews()(network, batch)
    assert torch.equal(classify(network.eval(), batch), single)
    set_views(network, AveragedViews(every_epoch=False))
    assert torch.equal(classify(network.eval(), batch), several)
    assert torch.equal(classify(network.train(), batch), single)
    for is_training, expected in ((True, single), (False, several)):
        with validation_views(network.eval(), is_training):
            assert torch.equal(classify(network, batch), expected)
    with single_view(network):
        assert (torch.equal(classify(network, batch), single), describe_views(network)) == (True, "")
    assert describe_views(network) == "mirror, mean of logits"


def test_views_that_make_no_sense_are_refused() -> None:
    with raises_user_error(r"tta\.mirror = false leaves a single view.*Use tta=none"):
        AveragedViews(mirror=False)
    with raises_user_error(r"tta\.translate = 6 must be less than the side of the network's input, 6 pixels"):
        set_views(Linear(), AveragedViews(translate=6))
