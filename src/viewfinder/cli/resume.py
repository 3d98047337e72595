"""`viewfinder resume`: continue a run."""

from typing import Annotated

import typer

from viewfinder.config.overrides import read_path
from viewfinder.training.runtime import fast_imports


def resume(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run folder, or latest for the last one in output_dir.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="For example trainer.max_epochs=20.")
    ] = None,
) -> None:
    """Continue a stopped or killed run as if without interruption, or train a finished run for more epochs."""
    with fast_imports():
        from viewfinder.experiment.resume import find_run, resume_experiment

    output_dirs = [word for word in overrides or [] if run == "latest" and word.startswith("output_dir=")]
    remaining = [word for word in overrides or [] if word not in output_dirs]
    resume_experiment(find_run(run, *map(read_path, output_dirs[-1:])), remaining)
