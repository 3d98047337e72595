"""`viewfinder predict`: what a run's network says of pictures."""

from pathlib import Path
from typing import Annotated

import typer

from viewfinder.training.runtime import importing

CHUNK = 128
"""Pictures that are in memory at once."""


def predict(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")],
    pictures: Annotated[
        list[Path],
        typer.Argument(
            metavar="PICTURE-OR-FOLDER...", help="Files, or folders of them; and allow=NAME for a network of your own."
        ),
    ],
    top: Annotated[int, typer.Option(min=1, help="How many classes to name.")] = 3,
    csv: Annotated[Path | None, typer.Option(metavar="FILE", help="Write every class's probability there.")] = None,
) -> None:
    """Name the likeliest classes of pictures; any size, any mode."""
    with importing():  # torch and Lightning come with it
        from viewfinder.experiment.load import open_run
    import torch
    from rich.table import Table

    from viewfinder.data.decode_parallel import try_decode_each
    from viewfinder.data.files import find_pictures, readable
    from viewfinder.data.unreadable import NAMED
    from viewfinder.errors import Problem, UserError, printable
    from viewfinder.evaluation.metrics import Predictions
    from viewfinder.evaluation.predictions import FLOAT_FORMAT, build_prediction_table
    from viewfinder.experiment.stored_config import ALLOW
    from viewfinder.reporting.tables import open_console
    from viewfinder.runs.atomic import replace_text

    allowed = [str(word) for word in pictures if str(word).startswith(ALLOW)]
    opened = open_run(run, allowed, "best")
    files = find_pictures([path for path in pictures if str(path) not in allowed])
    names, problems, logits = [], [], []
    for start in range(0, len(files), CHUNK):
        decoded = try_decode_each(files[start : start + CHUNK], *opened.picture_shape)
        problems += [each for each in decoded.values() if isinstance(each, Problem)]
        read = {path: each for path, each in decoded.items() if not isinstance(each, Problem)}
        if read:
            names += [readable(path) for path in read]
            logits.append(opened.logits(torch.stack(list(read.values()))))
    if not names:
        raise UserError("the pictures", problems, most=NAMED)
    predictions = Predictions(torch.cat(logits), torch.zeros(len(names), dtype=torch.int64))
    table = Table(box=None, pad_edge=False)
    table.add_column("picture", overflow="fold")
    shown = min(top, len(opened.class_names))
    for place in range(shown):
        table.add_column("class" if not place else f"{place + 1}.", overflow="fold")
    values, classes = predictions.probabilities().topk(shown)
    for name, shares, indices in zip(names, values.tolist(), classes.tolist(), strict=True):
        cells = [
            f"{printable(opened.class_names[index])} {share:.1%}" for share, index in zip(shares, indices, strict=True)
        ]
        table.add_row(printable(name), *cells)
    open_console().print(table)
    if csv is not None:
        everything = build_prediction_table(names, predictions, opened.class_names).drop(columns="true")
        replace_text(csv, everything.to_csv(index=False, float_format=FLOAT_FORMAT))
    if problems:
        raise UserError("the pictures", problems, most=NAMED)
