"""The whitening convolution decorrelates the patches of the images that it sees."""

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view

from viewfinder.models import whitening
from viewfinder.models.whitening import Whitening


def correlated_images(count: int = 30) -> np.ndarray:
    """Draw smooth images (N, 3, 9, 7) whose channels are correlated."""
    rng = np.random.default_rng(0)
    images = rng.normal(size=(count, 3, 9, 7)).cumsum(2).cumsum(3)
    return (np.einsum("nchw,cd->ndhw", images, rng.normal(size=(3, 3))) + 2).astype(np.float32)


def list_patches(images: np.ndarray, side: int) -> np.ndarray:
    """Return all patches, (n, C * side * side)."""
    windows = sliding_window_view(images.astype(np.float64), (side, side), axis=(2, 3))
    return windows.transpose(0, 2, 3, 1, 4, 5).reshape(-1, images.shape[1] * side**2)


def test_whitened_patches_have_mean_zero_and_the_identity_as_covariance() -> None:
    images = correlated_images()
    layer = Whitening(3, 2, eps=1e-12)
    layer.fit(torch.from_numpy(images))
    outputs = layer(torch.from_numpy(images)).detach().double()
    values = outputs.movedim(1, 3).reshape(-1, 24).numpy()
    np.testing.assert_allclose(values[:, :12].mean(0), 0, atol=1e-3)
    np.testing.assert_allclose(np.cov(values[:, :12].T, bias=True), np.eye(12), atol=1e-3)
    np.testing.assert_allclose(values[:, 12:], -values[:, :12], atol=1e-3)


def test_the_filters_are_numpys_principal_components_scaled_by_their_deviations() -> None:
    images = correlated_images()
    layer = Whitening(3, 3, eps=0.25)
    layer.fit(torch.from_numpy(images))
    patches = list_patches(images, 3)
    values, vectors = np.linalg.eigh(np.cov(patches.T, bias=True))
    expected = (vectors / np.sqrt(values + 0.25)).T[::-1]
    filters = layer.weight.detach().numpy().reshape(54, 27)
    np.testing.assert_allclose(np.abs(filters[:27]), np.abs(expected), rtol=1e-3, atol=1e-4)
    assert (filters[:27][np.arange(27), np.abs(filters[:27]).argmax(1)] > 0).all()
    assert layer.bias is not None
    np.testing.assert_allclose(layer.bias.detach(), -filters @ patches.mean(0), rtol=1e-3, atol=1e-3)


def test_patches_are_measured_part_by_part(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    images = torch.from_numpy(correlated_images())
    mean, covariance = whitening.measure_patches(images, 2)
    monkeypatch.setattr(whitening, "PIXELS", 5 * 63)
    parts = whitening.measure_patches(images, 2)
    torch.testing.assert_close((mean, covariance), parts)


def test_images_of_one_colour_leave_the_filters_finite() -> None:
    layer = Whitening(1, 2, eps=5e-4)
    layer.fit(torch.full((3, 1, 4, 4), 0.25))
    assert layer.weight.isfinite().all()
    torch.testing.assert_close(layer(torch.full((1, 1, 2, 2), 0.25)), torch.zeros(1, 8, 1, 1), atol=1e-4, rtol=0)
