"""`viewfinder export`: the network of a run as a file for other programs."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from viewfinder.cli.evaluate import OverridesArgument, RunArgument, ViewsOption, Weights, WeightsOption
from viewfinder.training.runtime import fast_imports


class FileFormat(StrEnum):
    onnx = "onnx"
    torch = "torch"


def export(
    run: RunArgument,
    overrides: OverridesArgument = None,
    file_format: Annotated[
        FileFormat, typer.Option("--format", help="onnx for ONNX, torch for torch.export.")
    ] = FileFormat.onnx,
    output: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="File to write.", show_default="RUN/model.onnx or RUN/model.pt2"),
    ] = None,
    weights: WeightsOption = Weights.best,
    images: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="IMAGE-OR-FOLDER",
            help="Compare the file with the run on these images, not on the run's test split; may be repeated.",
        ),
    ] = None,
    max_difference: Annotated[
        float, typer.Option(min=0, help="Largest accepted difference of a probability from the run's.")
    ] = 1e-4,
    tta: ViewsOption = None,
) -> None:
    """Write the network of a run, with its preprocessing, to a file that other programs run.

    The file takes uint8 images of any number and size and returns probabilities and logits. It is kept only if it
    answers as the run does. FILE.json describes it.
    """
    with fast_imports():  # imports torch and Lightning
        from viewfinder.experiment.load import open_run
    from viewfinder.data.listing import find_images
    from viewfinder.errors import printable
    from viewfinder.experiment.export.run import check_installation, export_run

    check_installation(file_format.value)
    files = find_images(images).images if images else []
    opened = open_run(run, overrides or [], weights.value, accelerator="cpu", tta=tta)
    default = opened.folder.onnx_model if file_format is FileFormat.onnx else opened.folder.torch_model
    result = export_run(opened, output or default, file_format.value, weights.value, files, max_difference)
    size, compared = result.path.stat().st_size / 1e6, result.comparison
    lines = (
        f"{result.path} ({size:,.1f} MB), described by {result.description.name}",
        f"Compared with the run on {compared.describe_images()}:",
        f"largest difference of a probability {compared.largest_difference:.2g}, "
        f"{compared.changed_predictions:,} changed predictions.",
    )
    for line in lines:
        print(printable(line))
