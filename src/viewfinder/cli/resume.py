"""`viewfinder resume`: continue a run."""

import os
from pathlib import Path
from typing import Annotated

import typer

from viewfinder.cli.evaluate import RunArgument
from viewfinder.training.runtime import fast_imports


def resume(
    run: RunArgument,
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="For example trainer.max_epochs=20.")
    ] = None,
) -> None:
    """Continue a stopped or killed run as if without interruption, or train a finished run for more epochs."""
    with fast_imports():
        from viewfinder.experiment.find_run import find_run
        from viewfinder.experiment.resume import resume_experiment
    from viewfinder.runs.folder import RunFolder
    from viewfinder.runs.launcher import is_helper
    from viewfinder.runs.naming import RUN_VARIABLE

    folder, remaining = find_run(run, overrides or [])
    if is_helper() and RUN_VARIABLE in os.environ:  # in the meantime, another run may be the latest
        folder = RunFolder.open(Path(os.environ[RUN_VARIABLE]))
    resume_experiment(folder, remaining)
