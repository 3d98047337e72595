"""`viewfinder resume`: continue a run."""

from typing import Annotated

import typer

from viewfinder.training.runtime import fast_imports


def resume(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run folder, or latest for the last one in outputs/.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="For example trainer.max_epochs=20.")
    ] = None,
) -> None:
    """Continue a stopped or killed run as if without interruption, or train a finished run for more epochs."""
    with fast_imports():
        from viewfinder.experiment.resume import find_run, resume_experiment

    resume_experiment(find_run(run), overrides or [])
