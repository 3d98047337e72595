"""`viewfinder explain`: pages that show how a network computes."""

from pathlib import Path
from typing import Annotated

import typer

from viewfinder.cli.output_file import check_output_file, write_output
from viewfinder.errors import Problem, UserError, did_you_mean, printable
from viewfinder.evaluation.kernels import KERNELS
from viewfinder.training.runtime import fast_imports

explain = typer.Typer(help="Show how a network computes, on an image.", no_args_is_help=True, rich_markup_mode=None)


@explain.callback()
def explain_group() -> None:
    """Show how a network computes, on an image."""


def check_kernel(name: str) -> str:
    """Raise UserError unless there is a kernel of this name."""
    if name not in KERNELS:
        remedy = did_you_mean(name, list(KERNELS)) or f"Kernels: {', '.join(KERNELS)}."
        raise UserError("the command line", [Problem("--kernel", "is not the name of a kernel", name, remedy)])
    return name


@explain.command()
def convolution(
    image: Annotated[Path, typer.Argument(metavar="IMAGE", help="An image file of any size.")],
    kernel: Annotated[
        str, typer.Option(metavar="NAME", callback=check_kernel, help=f"Kernel of 3 x 3 weights: {', '.join(KERNELS)}.")
    ] = "vertical_edges",
    output: Annotated[Path, typer.Option(metavar="FILE", callback=check_output_file, help="Page to write.")] = Path(
        "convolution.html"
    ),
) -> None:
    """Write a page with the formulas of convolutional networks at work on an image.

    A sliding kernel, padding, stride, pooling, convolution beside cross-correlation, and the gradient of a kernel by
    hand beside autograd's.
    """
    with fast_imports():  # imports torch
        from viewfinder.experiment.explain import explain_convolution

    write_output(output, explain_convolution(image, kernel))
    print(printable(f"page     {output}"))
