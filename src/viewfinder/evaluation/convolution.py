"""Convolution, pooling and the gradient of a kernel, computed by their definitions."""

from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view

from viewfinder.evaluation.kernels import KERNELS

PATCH = 5
"""Side of the small patch of an image."""


def cross_correlate(image: np.ndarray, kernel: np.ndarray, padding: int = 0, stride: int = 1) -> np.ndarray:
    """Slide a kernel over an image: O[i, j] = sum over m, n of I[S*i + m, S*j + n] * K[m, n].

    This is what networks call a convolution.

    Args:
        image: (H, W).
        kernel: (h, w).
        padding: zeros on each side of the image.
        stride: S, pixels between two places of the kernel.
    """
    windows = sliding_window_view(np.pad(image, padding), kernel.shape)[::stride, ::stride]
    return np.einsum("ijmn,mn->ij", windows, kernel)


def convolve(image: np.ndarray, kernel: np.ndarray, padding: int = 0) -> np.ndarray:
    """Convolve in the sense of mathematics: cross-correlate with the kernel turned by 180 degrees."""
    return cross_correlate(image, kernel[::-1, ::-1], padding)


def pool(image: np.ndarray, size: int, kind: Literal["max", "average"]) -> np.ndarray:
    """Return the largest or the mean level of each square of `size` pixels; squares do not overlap."""
    windows = sliding_window_view(image, (size, size))[::size, ::size]
    return windows.max((2, 3)) if kind == "max" else windows.mean((2, 3))


def compute_kernel_gradient(image: np.ndarray, slopes: np.ndarray, padding: int = 0) -> np.ndarray:
    """Return the gradient of a loss L by the kernel: dL/dK[m, n] = sum over i, j of dL/dO[i, j] * I[i + m, j + n].

    Args:
        image: (H, W), input of the cross-correlation with stride 1.
        slopes: dL/dO, of the shape of its output O.
        padding: zeros on each side of the image.
    """
    return cross_correlate(image, slopes, padding)


def compute_autograd_gradient(image: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Return the gradient of L = half the sum of squares of the output by the kernel, by torch's autograd."""
    weight = torch.tensor(kernel, dtype=torch.float64, requires_grad=True)
    inputs = torch.tensor(image, dtype=torch.float64)
    output = torch.nn.functional.conv2d(inputs[None, None], weight[None, None])
    (gradient,) = torch.autograd.grad(0.5 * output.square().sum(), weight)
    return gradient.numpy()


class Explanation(NamedTuple):
    """Results of a kernel on an image and on a small patch of it.

    Args:
        image: (H, W) int64, levels from 0 to 255.
        kernel: (3, 3) int64.
        divisor: divisor of the results.
        corner: row and column of the patch's first pixel.
        patch: (5, 5) int64.
    """

    image: np.ndarray
    kernel: np.ndarray
    divisor: int
    corner: tuple[int, int]
    patch: np.ndarray

    @property
    def is_symmetric(self) -> bool:
        """True if a rotation by 180 degrees leaves the kernel unchanged."""
        return bool((self.kernel == self.kernel[::-1, ::-1]).all())


def explain(levels: np.ndarray, kernel: str) -> Explanation:
    """Choose the patch of an image on which a kernel responds most.

    Args:
        levels: (H, W) uint8, at least 5 x 5.
        kernel: a name in KERNELS.
    """
    image, (rows, divisor) = levels.astype(np.int64), KERNELS[kernel]
    weights = np.array(rows)
    response = np.abs(cross_correlate(image, weights))[1:-1, 1:-1]
    row, column = np.unravel_index(response.argmax(), response.shape)
    corner = int(row), int(column)
    return Explanation(image, weights, divisor, corner, image[row : row + PATCH, column : column + PATCH])
