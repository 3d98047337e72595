"""`viewfinder explain`: pages that show how a network computes."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from viewfinder.cli.output_file import check_output_file

SIDE = 160
"""Longer side in pixels to which a larger image is reduced."""
MIN_SIDE = 5
"""Pixels of the patch whose levels the page shows."""


class Kernel(StrEnum):
    vertical_edges = "vertical_edges"
    horizontal_edges = "horizontal_edges"
    outline = "outline"
    sharpen = "sharpen"
    blur = "blur"


explain = typer.Typer(help="Show how a network computes, on an image.", no_args_is_help=True, rich_markup_mode=None)


@explain.callback()
def explain_group() -> None:
    """Show how a network computes, on an image."""


@explain.command()
def convolution(
    image: Annotated[Path, typer.Argument(metavar="IMAGE", help="An image file of any size.")],
    kernel: Annotated[Kernel, typer.Option(help="Kernel of 3 x 3 weights.")] = Kernel.vertical_edges,
    output: Annotated[Path, typer.Option(metavar="FILE", callback=check_output_file, help="Page to write.")] = Path(
        "convolution.html"
    ),
) -> None:
    """Write a page with the formulas of convolutional networks at work on an image.

    A sliding kernel, padding, stride, pooling, convolution beside cross-correlation, and the gradient of a kernel by
    hand beside autograd's.
    """
    from PIL import Image

    from viewfinder.data.files import open_stable
    from viewfinder.data.image_file import catch_problem, load_image, silence_warnings
    from viewfinder.errors import Problem, UserError, printable
    from viewfinder.training.runtime import fast_imports

    def load(path: Path) -> Image.Image:
        with silence_warnings(), open_stable(path) as file:
            return load_image(file, path, channels=1)

    grey = catch_problem(load, image)
    if not isinstance(grey, Problem):
        grey.thumbnail((SIDE, SIDE))
        if min(grey.size) < MIN_SIDE:
            rule = f"has {grey.width} x {grey.height} pixels when its longer side has at most {SIDE}"
            grey = Problem(str(image), rule, remedy=f"Pass an image with at least {MIN_SIDE} pixels on each side.")
    if isinstance(grey, Problem):
        raise UserError("the image", [grey])
    with fast_imports():  # imports torch
        import numpy as np

        from viewfinder.models.convolution import explain as explain_image
        from viewfinder.reporting.pages.convolution import write_convolution_page
    from viewfinder.runs.provenance import read_command

    explained = explain_image(np.asarray(grey), kernel.value)
    write_convolution_page(output, explained, image.name, kernel.value, read_command())
    print(printable(f"page     {output}"))
