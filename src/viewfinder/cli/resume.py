"""`viewfinder resume`: go on with a run."""

from typing import Annotated

import typer

from viewfinder.training.runtime import importing


def resume(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run folder; or latest, the last one in outputs/.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Such as trainer.max_epochs=20.")
    ] = None,
) -> None:
    """Go on with a run that was stopped or killed, as if it had not been; or, with more epochs, with a finished one."""
    with importing():
        from viewfinder.experiment.resume import find_run, resume_experiment

    resume_experiment(find_run(run), overrides or [])
