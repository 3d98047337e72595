"""`viewfinder predict`: classes of image files."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from viewfinder.cli.output_file import check_output_file, write_output
from viewfinder.training.runtime import fast_imports

if TYPE_CHECKING:  # heavy, and not needed by --help
    from viewfinder.evaluation.classified import Classified
    from viewfinder.experiment.load import OpenedRun

CHUNK = 128
"""Images in memory at once."""
MAX_NAMED = 100
"""Unreadable images listed in the error."""


def predict(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="A run folder, or an ONNX file that `viewfinder export` wrote.")
    ],
    images: Annotated[
        list[Path],
        typer.Argument(
            metavar="IMAGE-OR-FOLDER...", help="Files, or folders of them; and allow=NAME for a network of your own."
        ),
    ],
    top: Annotated[int, typer.Option(min=1, help="Number of classes to print for each image.")] = 3,
    csv: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", callback=check_output_file, help="Write the probability of every class to this file."
        ),
    ] = None,
) -> None:
    """Print the most likely classes of images of any size and mode."""
    from viewfinder.config.overrides import ALLOW_PREFIX
    from viewfinder.data.listing import describe_left_out, find_images
    from viewfinder.errors import UserError, printable
    from viewfinder.reporting.tables import open_console

    allowed = [str(word) for word in images if str(word).startswith(ALLOW_PREFIX)]
    paths = [path for path in images if str(path) not in allowed]
    if run.is_file() or (run.suffix == ".onnx" and not run.is_dir()):
        from viewfinder.experiment.classify_exported import classify_exported
        from viewfinder.models.onnx_model import OnnxModel

        model, found = OnnxModel(run), find_images(paths)
        classified = classify_exported(model, found.images)
    else:
        with fast_imports():  # imports torch and Lightning
            from viewfinder.experiment.load import open_run

        opened, found = open_run(run, allowed, "best"), find_images(paths)
        classified = _classify(opened, found.images)
    if classified.names:
        open_console().print(classified.build_table(top))
        if csv is not None:
            write_output(csv, classified.to_csv())
        for sentence in describe_left_out([found], Path()):
            typer.echo(f"warning  {printable(sentence)}", err=True)
    if classified.problems:
        raise UserError("the images", classified.problems, max_listed=MAX_NAMED)


def _classify(opened: "OpenedRun", files: list[Path]) -> "Classified":
    """Classify image files with the weights of a run."""
    import torch

    from viewfinder.data.decode_parallel import try_decode_each
    from viewfinder.data.files import escape_path
    from viewfinder.errors import Problem
    from viewfinder.evaluation.classified import Classified

    names, logits, problems = [], [torch.empty(0, len(opened.class_names))], []
    for start in range(0, len(files), CHUNK):
        decoded = try_decode_each(files[start : start + CHUNK], *opened.picture_shape)
        problems += [image for image in decoded.values() if isinstance(image, Problem)]
        images = {path: image for path, image in decoded.items() if not isinstance(image, Problem)}
        if images:
            names += [escape_path(path) for path in images]
            logits.append(opened.logits(torch.stack(list(images.values()))))
    rows = torch.cat(logits)
    return Classified(names, rows.softmax(1).numpy(), rows.argmax(1).numpy(), opened.class_names, problems)
