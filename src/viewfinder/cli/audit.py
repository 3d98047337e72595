"""`viewfinder audit`: duplicates, label errors and flawed images of a data set."""

from pathlib import Path
from typing import Annotated

import typer

from viewfinder.cli.evaluate import Weights, WeightsOption
from viewfinder.training.runtime import fast_imports

FOLDER_NAME = "name=audit"


def audit(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[RUN] [KEY=VALUE]...",
            help="Data as for train, for example data=image_folder data.root=PATH; or a run folder, for its own data.",
        ),
    ] = None,
    min_correlation: Annotated[
        float,
        typer.Option(min=0.5, max=1, help="Correlation of the pixels from which two images are near duplicates."),
    ] = 0.88,
    weights: WeightsOption = Weights.best,
) -> None:
    """Find duplicates within and across splits, images with two labels, and blank, very small or unreadable ones.

    With a run, also likely label errors, by its predictions. Writes audit.html, suspects.csv and clean.csv, which has
    all images but the suspects, to OUTPUT_DIR/audit/TIME/ or to the run folder.
    """
    import shlex

    from viewfinder.cli.own_files import use_own_files
    from viewfinder.config.overrides import compose_config
    from viewfinder.errors import Problem, UserError, printable
    from viewfinder.runs.naming import RUN_FILE

    typed = words or []
    if typed and ("=" not in typed[0] or Path(typed[0]).is_dir()):
        if Path(typed[0]).is_dir() and not (Path(typed[0]) / RUN_FILE).is_file():
            remedy = (
                f"For a folder of images: viewfinder audit data=image_folder {shlex.quote(f'data.root={typed[0]}')}"
            )
            raise UserError("the run folder", [Problem("RUN", f"has no {RUN_FILE}", typed[0], remedy)])
        with fast_imports():  # imports torch and Lightning
            from viewfinder.experiment.audit import audit_run
            from viewfinder.experiment.load import open_run

        lines = audit_run(open_run(Path(typed[0]), typed[1:], weights.value), min_correlation)
    else:
        is_named = any(word.startswith("name=") for word in typed)
        cfg = compose_config(typed if is_named else [FOLDER_NAME, *typed])
        use_own_files()
        with fast_imports():
            from viewfinder.experiment.audit import audit_data

        lines = audit_data(cfg, min_correlation)
    for line in lines:
        print(printable(line))
