"""Convolution that whitens patches of images."""

import torch
from torch import Tensor, nn
from torch.nn.functional import unfold

PIXELS = 2**18
"""Pixels of the images whose patches are in memory at once."""


class Whitening(nn.Conv2d):
    """Convolution whose filters are the scaled principal components of image patches, and their negatives.

    Until `fit` is called, weights and bias are random.

    Args:
        channels: channels C of the images.
        kernel_size: side K of the patches in pixels; there are 2 * C * K ** 2 filters.
        eps: added to each eigenvalue of the covariance, so that components without variance do not become noise.
    """

    def __init__(self, channels: int, kernel_size: int, eps: float):
        super().__init__(channels, 2 * channels * kernel_size**2, kernel_size)
        self.eps = eps

    @torch.no_grad()
    def fit(self, images: Tensor) -> None:
        """Set weights and bias from images, (N, C, H, W) float.

        On these images, the first half of the outputs has mean 0 and, apart from `eps`, the identity as covariance.
        """
        mean, covariance = measure_patches(images, self.kernel_size[0])
        values, vectors = torch.linalg.eigh(covariance)
        filters = (vectors / (values.clamp(min=0) + self.eps).sqrt()).T.flip(0)  # largest eigenvalue first
        largest = filters.gather(1, filters.abs().argmax(1, keepdim=True))
        filters = filters * largest.sign()  # eigenvectors have no sign of their own
        filters = torch.cat([filters, -filters])
        assert self.bias is not None
        self.weight.copy_(filters.view_as(self.weight))
        self.bias.copy_(-filters @ mean)


def measure_patches(images: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """Return mean (D,) and covariance (D, D) of all square patches of images, D = C * side ** 2, as float64."""
    total = torch.zeros(images.shape[1] * side**2, dtype=torch.float64)
    products, count = torch.zeros(len(total), len(total), dtype=torch.float64), 0
    for part in images.split(max(1, PIXELS // (images.shape[2] * images.shape[3]))):
        patches = unfold(part.double(), side).transpose(1, 2).flatten(0, 1)
        total += patches.sum(0)
        products += patches.T @ patches
        count += len(patches)
    mean = total / count
    return mean, products / count - mean.outer(mean)
