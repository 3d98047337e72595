"""`viewfinder lr-range`: which learning rate to begin with."""

from typing import Annotated

import typer

from viewfinder.training.runtime import importing

FEWEST = 40
"""Steps."""
HIGHEST = 1e6
"""Learning rate, far above any that trains."""


def lr_range(
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="As for train, such as model=mlp.")
    ] = None,
    steps: Annotated[
        int, typer.Option(metavar="N", help="Steps of the optimizer, fewer where the loss diverges.")
    ] = 200,
    first: Annotated[float, typer.Option("--from", metavar="LR", help="Learning rate of the first step.")] = 1e-7,
    last: Annotated[float, typer.Option("--to", metavar="LR", help="Learning rate of the last step.")] = 10.0,
) -> None:
    """Train for some steps while the learning rate grows, and propose the one at which the loss falls fastest.

    Takes what train takes. The curve goes to OUTPUT_DIR/NAME/TIME_lr_range/: lr_range.png, lr_range.csv, lr_range.json.
    Exits with 2 where no learning rate can be proposed.
    """
    import sys
    from pathlib import Path

    from viewfinder.config.overrides import STAGE, compose_config, parse_overrides
    from viewfinder.errors import Problem, UserError

    words = overrides or []
    problems = [
        Problem(each.key_or_group, "a range test takes one value", each.get_value_string(), "Give one of them.")
        for each in parse_overrides(words)
        if each.is_sweep_override()
    ]
    if steps < FEWEST:
        problems.append(Problem("--steps", f"must be at least {FEWEST}: fewer show little but noise", str(steps)))
    if not 0 < first < last <= HIGHEST:
        rule = f"must be learning rates above 0 that grow, up to {HIGHEST:.0e}"
        problems.append(Problem("--from, --to", rule, f"{first:g}, {last:g}", "Such as --from 1e-7 --to 10."))
    if problems:
        raise UserError(STAGE, problems)
    cfg = compose_config(words)
    sys.path.insert(0, str(Path.cwd()))  # as `train` does, for a network of one's own
    with importing():
        import numpy as np

        from viewfinder.experiment.lr_range import run_range_test

    if run_range_test(cfg, np.geomspace(first, last, steps), words).proposal is None:
        raise typer.Exit(2)
