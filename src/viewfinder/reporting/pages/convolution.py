"""Page about convolution: the tutorial's formulas at work on one image, in one file without network access."""

import io
from typing import Any, Literal

import numpy as np
from PIL import Image

from viewfinder.errors import printable
from viewfinder.evaluation.convolution import (
    Explanation,
    compute_autograd_gradient,
    compute_kernel_gradient,
    convolve,
    cross_correlate,
    pool,
)  # fmt: skip
from viewfinder.models.output_size import Window
from viewfinder.reporting.charts.files import encode_png
from viewfinder.reporting.pages.render import render_page

SIDE = 3
"""Side of the kernels."""
STEPS = ((0, 0), (0, 1), (2, 2))
"""Places of the kernel on the patch that are shown."""
SHOWN_STRIDES = (1, 2, 3)
POOL_SIZE = 2
KINDS: tuple[Literal["max", "average"], ...] = ("max", "average")


def render_convolution(explained: Explanation, source: str, kernel_name: str, command: str) -> str:
    """Return the page.

    Args:
        explained: the image, the kernel and the patch.
        source: name of the image.
        kernel_name: name of the kernel.
        command: command line.
    """
    image, kernel, divisor, corner, patch = explained
    valid, same = cross_correlate(image, kernel) / divisor, cross_correlate(image, kernel, 1) / divisor
    turned = convolve(image, kernel) / divisor
    patch_valid = cross_correlate(patch, kernel)
    by_hand, by_autograd = compute_kernel_gradient(patch, patch_valid), compute_autograd_gradient(patch, kernel)
    largest = float(np.abs(valid).max())
    pooled = {kind: pool(np.abs(valid), POOL_SIZE, kind) for kind in KINDS}
    return render_page(
        "convolution.html.j2",
        source=printable(source),
        command=printable(command),
        kernel_name=kernel_name.replace("_", " "),
        divisor=divisor,
        corner=corner,
        height=image.shape[0],
        width=image.shape[1],
        kernel=kernel.tolist(),
        turned_kernel=kernel[::-1, ::-1].tolist(),
        image=_encode(image),
        framed=_encode(_frame(image, corner)),
        steps=[_show_step(patch, kernel, place) for place in STEPS],
        patch_valid=patch_valid.tolist(),
        patch_same=cross_correlate(patch, kernel, 1).tolist(),
        patch_turned=convolve(patch, kernel).tolist(),
        padded=np.pad(patch, 1).tolist(),
        valid=_encode_signed(valid, largest),
        same=_encode_signed(same, float(np.abs(same).max())),
        turned=_encode_signed(turned, float(np.abs(turned).max())),
        is_symmetric=explained.is_symmetric,
        difference=f"{np.abs(turned - valid).max():,.4g}",
        sizes={name: _show_sizes(image.shape, padding) for name, padding in (("valid", 0), ("same", 1))},
        strides=[
            {
                "stride": stride,
                "sizes": _show_sizes(image.shape, 0, stride),
                "image": _encode_signed(cross_correlate(image, kernel, 0, stride) / divisor, largest),
            }
            for stride in SHOWN_STRIDES
        ],
        response=np.abs(patch_valid)[:2, :2].tolist(),
        pools={
            kind: {
                "value": f"{pool(np.abs(patch_valid)[:2, :2], POOL_SIZE, kind)[0, 0]:,.6g}",
                "image": _encode(255 * pooled[kind] / max(largest, 1e-12)),
                "shape": " x ".join(map(str, pooled[kind].shape)),
            }
            for kind in KINDS
        },
        absolute=_encode(255 * np.abs(valid) / max(largest, 1e-12)),
        by_hand=by_hand.tolist(),
        by_autograd=[[round(value) for value in row] for row in by_autograd.tolist()],
        gradient_difference=f"{np.abs(by_hand - by_autograd).max():.3g}",
        gradient_terms=_format_terms(patch_valid, patch[:SIDE, :SIDE]),
    )  # fmt: skip


def _show_step(patch: np.ndarray, kernel: np.ndarray, place: tuple[int, int]) -> dict[str, Any]:
    """Return one place of the kernel on the patch: the window, its products and their sum."""
    row, column = place
    window = patch[row : row + SIDE, column : column + SIDE]
    cells = [
        [{"value": int(patch[i, j]), "is_on": row <= i < row + SIDE and column <= j < column + SIDE} for j in range(5)]
        for i in range(5)
    ]
    output = [[{"is_on": (i, j) == place} for j in range(SIDE)] for i in range(SIDE)]
    return {
        "row": row, "column": column, "cells": cells, "output": output, "terms": _format_terms(window, kernel),
        "sum": int((window * kernel).sum()),
    }  # fmt: skip


def _format_terms(left: np.ndarray, right: np.ndarray) -> str:
    """Format the products of two matrices whose second factor is not 0."""
    pairs = zip(left.ravel().tolist(), right.ravel().tolist(), strict=True)
    return " + ".join(f"{_bracket(a)}·{_bracket(b)}" for a, b in pairs if b)


def _bracket(value: int) -> str:
    return f"({value})" if value < 0 else str(value)


def _show_sizes(shape: tuple[int, ...], padding: int, stride: int = 1) -> list[str]:
    """Return the formula of the output's height and width with the numbers filled in."""
    window = Window(SIDE, stride, padding=2 * padding)
    return [f"{name}: {window.format_steps(size)}" for name, size in zip(("height", "width"), shape, strict=True)]


def _frame(image: np.ndarray, corner: tuple[int, int]) -> np.ndarray:
    """Draw a frame around the patch: white, with a black one around it."""
    framed, (row, column) = image.copy(), corner
    for gap, level in ((2, 0), (1, 255)):
        top, left = max(row - gap, 0), max(column - gap, 0)
        bottom, right = min(row + 4 + gap, image.shape[0] - 1), min(column + 4 + gap, image.shape[1] - 1)
        framed[[top, bottom], left : right + 1] = level
        framed[top : bottom + 1, [left, right]] = level
    return framed


def _encode_signed(values: np.ndarray, largest: float) -> str:
    """Return values as a data URL: medium grey is 0, black and white are the largest absolute value."""
    return _encode(127.5 + 127.5 * values / max(largest, 1e-12))


def _encode(levels: np.ndarray) -> str:
    """Return levels from 0 to 255 as a PNG file in a data URL."""
    file = io.BytesIO()
    Image.fromarray(np.round(levels).clip(0, 255).astype(np.uint8)).save(file, "png")
    return encode_png(file.getvalue())
