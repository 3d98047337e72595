"""Page about convolution, made from an image file."""

from pathlib import Path

import numpy as np
from PIL import Image

from viewfinder.data.files import open_stable
from viewfinder.data.image_file import catch_problem, load_image, silence_warnings
from viewfinder.errors import Problem, UserError
from viewfinder.evaluation.convolution import PATCH, explain
from viewfinder.reporting.pages.convolution import render_convolution
from viewfinder.runs.provenance import read_command

SIDE = 160
"""Longer side in pixels to which a larger image is reduced."""


def explain_convolution(path: Path, kernel: str) -> str:
    """Return the page about convolution for an image.

    Args:
        path: an image file of any size and mode; its grey levels are used.
        kernel: a name in `viewfinder.evaluation.kernels.KERNELS`.

    Raises:
        UserError: if the image is unreadable or too small.
    """
    grey = catch_problem(_load_grey, path)
    if not isinstance(grey, Problem):
        grey.thumbnail((SIDE, SIDE))
        if min(grey.size) < PATCH:
            rule = f"has {grey.width} x {grey.height} pixels when its longer side has at most {SIDE}"
            grey = Problem(str(path), rule, remedy=f"Pass an image with at least {PATCH} pixels on each side.")
    if isinstance(grey, Problem):
        raise UserError("the image", [grey])
    return render_convolution(explain(np.asarray(grey), kernel), path.name, kernel, read_command())


def _load_grey(path: Path) -> Image.Image:
    with silence_warnings(), open_stable(path) as file:
        return load_image(file, path, channels=1)
