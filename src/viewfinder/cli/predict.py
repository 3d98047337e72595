"""`viewfinder predict`: classes of image files."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from viewfinder.cli.output_file import check_output_file, write_output
from viewfinder.training.runtime import fast_imports

if TYPE_CHECKING:  # heavy, and not needed by --help
    from rich.table import Table
    from torch import Tensor

    from viewfinder.errors import Problem
    from viewfinder.evaluation.metrics import Predictions
    from viewfinder.experiment.load import OpenedRun

CHUNK = 128
"""Images in memory at once."""


def predict(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")],
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
    with fast_imports():  # imports torch and Lightning
        from viewfinder.experiment.load import open_run
    import torch

    from viewfinder.data.listing import describe_left_out, find_images
    from viewfinder.data.unreadable import MAX_NAMED
    from viewfinder.errors import UserError, printable
    from viewfinder.evaluation.metrics import Predictions
    from viewfinder.evaluation.predictions import FLOAT_FORMAT, build_prediction_table
    from viewfinder.experiment.stored_config import ALLOW_PREFIX
    from viewfinder.reporting.tables import open_console

    allowed = [str(word) for word in images if str(word).startswith(ALLOW_PREFIX)]
    opened = open_run(run, allowed, "best")
    found = find_images([path for path in images if str(path) not in allowed])
    names, logits, problems = _classify(opened, found.images)
    if not names:
        raise UserError("the images", problems, max_listed=MAX_NAMED)
    predictions = Predictions(logits, torch.zeros(len(names), dtype=torch.int64))
    open_console().print(_build_table(names, predictions, opened.class_names, top))
    if csv is not None:
        table = build_prediction_table(names, predictions, opened.class_names).drop(columns="true")
        write_output(csv, table.to_csv(index=False, float_format=FLOAT_FORMAT))
    for sentence in describe_left_out([found], Path()):
        typer.echo(f"warning  {printable(sentence)}", err=True)
    if problems:
        raise UserError("the images", problems, max_listed=MAX_NAMED)


def _classify(opened: "OpenedRun", files: list[Path]) -> tuple[list[str], "Tensor", list["Problem"]]:
    """Return the names of the readable files, their logits (N, classes) and the problems with the others."""
    import torch

    from viewfinder.data.decode_parallel import try_decode_each
    from viewfinder.data.files import escape_path
    from viewfinder.errors import Problem

    names, logits, problems = [], [torch.empty(0, len(opened.class_names))], []
    for start in range(0, len(files), CHUNK):
        decoded = try_decode_each(files[start : start + CHUNK], *opened.picture_shape)
        problems += [image for image in decoded.values() if isinstance(image, Problem)]
        images = {path: image for path, image in decoded.items() if not isinstance(image, Problem)}
        if images:
            names += [escape_path(path) for path in images]
            logits.append(opened.logits(torch.stack(list(images.values()))))
    return names, torch.cat(logits), problems


def _build_table(names: list[str], predictions: "Predictions", class_names: list[str], top: int) -> "Table":
    """Build a table with one image per row and its most likely classes in order."""
    from rich.table import Table

    from viewfinder.errors import printable

    count = min(top, len(class_names))
    table = Table(box=None, pad_edge=False)
    table.add_column("image", overflow="fold")
    for rank in range(1, count + 1):
        table.add_column("class" if rank == 1 else f"{rank}.", overflow="fold")
    values, classes = predictions.probabilities().topk(count)
    for name, probabilities, indices in zip(names, values.tolist(), classes.tolist(), strict=True):
        cells = [
            f"{printable(class_names[index])} {probability:.1%}"
            for probability, index in zip(probabilities, indices, strict=True)
        ]
        table.add_row(printable(name), *cells)
    return table
