"""`viewfinder lr-range`: learning-rate range test."""

from typing import Annotated

import typer

from viewfinder.training.runtime import fast_imports

MIN_STEPS = 40
MAX_LR = 1e6
"""Far above any learning rate that trains."""


def lr_range(
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="As for train, for example model=mlp.")
    ] = None,
    steps: Annotated[int, typer.Option(metavar="N", help="Optimizer steps; fewer if the loss diverges.")] = 200,
    first: Annotated[float, typer.Option("--from", metavar="LR", help="Learning rate of the first step.")] = 1e-7,
    last: Annotated[float, typer.Option("--to", metavar="LR", help="Learning rate of the last step.")] = 10.0,
) -> None:
    """Train for some steps while the learning rate grows, and propose the rate at which the loss falls fastest.

    Accepts the overrides of train. Writes the curve to OUTPUT_DIR/NAME/TIME_lr_range/: lr_range.html, lr_range.png,
    lr_range.csv, lr_range.json. Exits with 2 if no learning rate can be proposed.
    """

    from viewfinder.cli.own_files import use_own_files
    from viewfinder.config.overrides import STAGE, compose_config, parse_overrides
    from viewfinder.errors import Problem, UserError

    run_overrides = overrides or []
    problems = [
        Problem(override.key_or_group, "a range test takes one value", override.get_value_string(), "Choose one.")
        for override in parse_overrides(run_overrides)
        if override.is_sweep_override()
    ]
    if steps < MIN_STEPS:
        problems.append(
            Problem("--steps", f"must be at least {MIN_STEPS}, because fewer show mostly noise", str(steps))
        )
    if not 0 < first < last <= MAX_LR:
        rule = f"must be two learning rates above 0 and up to {MAX_LR:.0e}, the smaller one first"
        remedy = "For example --from 1e-7 --to 10."
        problems.append(Problem("--from, --to", rule, f"{first:g}, {last:g}", remedy))
    if problems:
        raise UserError(STAGE, problems)
    cfg = compose_config(run_overrides)
    use_own_files()
    with fast_imports():
        import numpy as np

        from viewfinder.experiment.lr_range import run_range_test

    if run_range_test(cfg, np.geomspace(first, last, steps), run_overrides).proposal is None:
        raise typer.Exit(2)
