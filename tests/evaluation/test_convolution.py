"""Convolution, pooling and the gradient of a kernel agree with SciPy and torch."""

import numpy as np
import pytest
import torch
from conftest import noise
from scipy.signal import convolve2d, correlate2d

from viewfinder.evaluation.convolution import (
    compute_autograd_gradient,
    compute_kernel_gradient,
    convolve,
    cross_correlate,
    explain,
    pool,
)
from viewfinder.evaluation.kernels import KERNELS
from viewfinder.models.output_size import Window

IMAGE = noise(13, 17).astype(np.int64)


@pytest.mark.parametrize("name", KERNELS)
def test_sliding_a_kernel_is_scipys_correlation_and_turning_it_scipys_convolution(name: str) -> None:
    kernel = np.array(KERNELS[name][0])
    for padding, mode in ((0, "valid"), (1, "same"), (2, "full")):
        np.testing.assert_array_equal(cross_correlate(IMAGE, kernel, padding), correlate2d(IMAGE, kernel, mode))
        np.testing.assert_array_equal(convolve(IMAGE, kernel, padding), convolve2d(IMAGE, kernel, mode))
    for stride in (2, 3):
        strided = cross_correlate(IMAGE, kernel, 0, stride)
        np.testing.assert_array_equal(strided, correlate2d(IMAGE, kernel, "valid")[::stride, ::stride])
        assert strided.shape == tuple(Window(3, stride).count_steps(side) for side in IMAGE.shape)


def test_pools_are_torchs() -> None:
    levels = torch.from_numpy(IMAGE).double()[None, None]
    for kind, function in (("max", torch.max_pool2d), ("average", torch.nn.functional.avg_pool2d)):
        np.testing.assert_allclose(pool(IMAGE, 2, kind), function(levels, 2)[0, 0].numpy())


def test_the_gradient_by_hand_is_autograds_and_the_slope_of_the_loss() -> None:
    kernel = np.array(KERNELS["sharpen"][0])
    slopes = cross_correlate(IMAGE, kernel)
    by_hand = compute_kernel_gradient(IMAGE, slopes)
    np.testing.assert_array_equal(by_hand, correlate2d(IMAGE, slopes, "valid"))
    np.testing.assert_allclose(by_hand, compute_autograd_gradient(IMAGE, kernel), rtol=1e-12)
    higher, lower = kernel.astype(float), kernel.astype(float)
    higher[0, 2], lower[0, 2] = higher[0, 2] + 0.5, lower[0, 2] - 0.5
    losses = [0.5 * np.square(correlate2d(IMAGE, each, "valid")).sum() for each in (higher, lower)]
    assert by_hand[0, 2] == pytest.approx(losses[0] - losses[1])  # exact, because the loss is quadratic


def test_the_patch_is_where_the_kernel_responds_most() -> None:
    image = np.full((20, 30), 90, np.uint8)
    image[8:, 15:] = 200  # a corner: the only place with both edges
    explained = explain(image, "vertical_edges")
    row, column = explained.corner
    assert explained.patch.tolist() == image[row : row + 5, column : column + 5].tolist()
    middle = explained.patch[1:4, 1:4]
    assert (
        abs((middle * explained.kernel).sum())
        == np.abs(correlate2d(image.astype(int), explained.kernel, "valid")).max()
    )
