"""Comparison of two images pixel by pixel, after one has been shifted and scaled onto the other."""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm

STEPS = 8
"""Steps of the alignment."""
MAX_SCALE, MAX_SHIFT = 0.2, 0.25
"""Largest change of scale, and largest shift in halves of the image's side; crops beyond them are other images."""
MIN_OVERLAP = 0.6
"""Least share of an image that the other one covers after alignment."""
SURROUNDINGS = 17
"""Side of the square whose mean is subtracted from a pixel, of 32."""
BLOCK = 1024
"""Pairs in memory at once."""
LUMA = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)
DAMPING = 1e-3
"""Share of the curvature that damps a step, for images without texture in a direction."""


def compare_pairs(thumbnails: Tensor, first: np.ndarray, second: np.ndarray, is_mirrored: np.ndarray) -> np.ndarray:
    """Return the correlation of the pixels of each pair of images, (M,) in -1..1, after their alignment.

    Args:
        thumbnails: (N, H, W, 3) uint8.
        first, second: indices of the images, (M,).
        is_mirrored: whether the second image is mirrored before, (M,).
    """
    indices, mirrored, results = [torch.tensor(rows) for rows in (first, second)], torch.tensor(is_mirrored), []
    with tqdm(total=len(first), desc="comparing pixels", leave=False, disable=None, unit=" pairs", delay=1) as bar:
        for part in torch.arange(len(first)).split(BLOCK):
            one, two = (thumbnails[rows[part]].permute(0, 3, 1, 2).float() for rows in indices)
            results.append(correlate(one, torch.where(mirrored[part].view(-1, 1, 1, 1), two.flip(3), two)))
            bar.update(len(part))
    return torch.cat(results).numpy() if results else np.zeros(0)


def correlate(one: Tensor, two: Tensor) -> Tensor:
    """Return the correlation of images, (N, 3, H, W) float32 each, before or after alignment, the larger: (N,).

    Levels are relative to the mean of their surroundings, so that a slow change of brightness, as in any sky, counts
    little.
    """
    grid = _make_grid(align(one, two), *one.shape[2:])
    overlap, aligned = _inside(grid), subtract_surroundings(_sample(two, grid))
    one, two = subtract_surroundings(one), subtract_surroundings(two)
    plain, moved = _correlate_where(one, two, torch.ones_like(overlap)), _correlate_where(one, aligned, overlap)
    return torch.maximum(plain, moved.where(overlap.mean((1, 2, 3)) >= MIN_OVERLAP, -1.0))


def subtract_surroundings(images: Tensor) -> Tensor:
    """Subtract from each pixel the mean of the square of SURROUNDINGS pixels around it, within the image."""
    mean, half = images, SURROUNDINGS // 2
    for size, padding in (((SURROUNDINGS, 1), (half, 0)), ((1, SURROUNDINGS), (0, half))):
        mean = functional.avg_pool2d(mean, size, 1, padding, count_include_pad=False)
    return images - mean


def align(one: Tensor, two: Tensor) -> Tensor:
    """Return scales and shifts, (N, 4), that map the pixels of `one` to those of `two`.

    From Lucas and Kanade 1981, "An Iterative Image Registration Technique": Gauss-Newton steps on the squared
    differences of the grey levels, with scale and shift in each direction.
    """
    target, source = ((image * LUMA).sum(1, keepdim=True) for image in (one, two))
    down, across = torch.gradient(source, dim=(2, 3))
    height, width = one.shape[2:]
    stack = torch.cat([source, across * (width / 2), down * (height / 2)], 1)
    warp = torch.zeros(len(one), 4)
    x, y = _make_axes(height, width)
    for _ in range(STEPS):
        grid = _make_grid(warp, height, width)
        inside = _inside(grid)
        level, across, down = _sample(stack, grid).split(1, 1)
        level, gain = _match(level, target, inside)
        columns = torch.cat([across * x, down * y, across, down], 1) * gain * inside
        jacobian, error = columns.flatten(2), ((target - level) * inside).flatten(2)
        curvature = jacobian @ jacobian.mT
        diagonal = curvature.diagonal(dim1=1, dim2=2)
        damped = curvature + torch.diag_embed(DAMPING * diagonal + 1e-3 * diagonal.amax(1, keepdim=True) + 1e-6)
        warp = warp + torch.linalg.solve(damped, jacobian @ error.mT)[..., 0]
        warp = torch.cat([warp[:, :2].clamp(-MAX_SCALE, MAX_SCALE), warp[:, 2:].clamp(-MAX_SHIFT, MAX_SHIFT)], 1)
    return warp


def _make_axes(height: int, width: int) -> tuple[Tensor, Tensor]:
    """Return the coordinates of pixels, -1..1 from edge to edge, as (1, 1, 1, W) and (1, 1, H, 1)."""
    x, y = ((2 * torch.arange(size) + 1) / size - 1 for size in (width, height))
    return x.view(1, 1, 1, -1), y.view(1, 1, -1, 1)


def _make_grid(warp: Tensor, height: int, width: int) -> Tensor:
    x, y = _make_axes(height, width)
    scale_x, scale_y, shift_x, shift_y = warp.view(-1, 4, 1, 1).split(1, 1)
    columns = (x * (1 + scale_x) + shift_x).expand(-1, -1, height, -1)
    rows = (y * (1 + scale_y) + shift_y).expand(-1, -1, -1, width)
    return torch.cat([columns, rows], 1).permute(0, 2, 3, 1)


def _inside(grid: Tensor) -> Tensor:
    return (grid.abs() <= 1).all(3).unsqueeze(1).float()


def _sample(images: Tensor, grid: Tensor) -> Tensor:
    return functional.grid_sample(images, grid, padding_mode="border", align_corners=False)


def _match(level: Tensor, target: Tensor, inside: Tensor) -> tuple[Tensor, Tensor]:
    """Give grey levels the mean and the deviation of the target where they overlap; return them and the factor."""
    area = inside.sum((2, 3), keepdim=True).clamp(min=1)
    means = [(image * inside).sum((2, 3), keepdim=True) / area for image in (level, target)]
    squares = [
        (((image - mean) * inside) ** 2).sum((2, 3), keepdim=True)
        for image, mean in zip((level, target), means, strict=True)
    ]
    gain = (squares[1] / squares[0].clamp(min=1e-6)).sqrt().clamp(0.25, 4)
    return (level - means[0]) * gain + means[1], gain


def _correlate_where(one: Tensor, two: Tensor, inside: Tensor) -> Tensor:
    """Return the correlation of colours, each channel without its mean, where `inside` is 1: (N,)."""
    area = inside.sum((2, 3), keepdim=True).clamp(min=1)
    one, two = ((image - (image * inside).sum((2, 3), keepdim=True) / area) * inside for image in (one, two))
    product, squares = (one * two).sum((1, 2, 3)), [image.square().sum((1, 2, 3)) for image in (one, two)]
    return product / (squares[0] * squares[1]).sqrt().clamp(min=1e-6)
