"""`viewfinder sync`: send runs to their trackers."""

from pathlib import Path
from typing import Annotated, Any

import typer


def sync(
    runs: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN-OR-SWEEP... [logger=NAME]",
            help="Run folders, or folders above them; logger=NAME and logger.NAME.KEY=VALUE choose another tracker.",
        ),
    ],
) -> None:
    """Send each run that has ended to its trackers, MLflow or Weights & Biases: only what they lack.

    By default the trackers are those with which the run was trained. Exits with 2 if something could not be sent, or if
    no run has a tracker.
    """
    from viewfinder.config.loggers import list_trackers, validate_loggers
    from viewfinder.errors import Problem, UserError, printable
    from viewfinder.reporting.trackers.sync import sync_run
    from viewfinder.runs.find import find_runs

    overrides = [word for word in runs if word.startswith(("logger=", "logger."))]
    chosen = _compose_loggers(overrides) if overrides else None
    folders = [run for path in runs if path not in overrides for run in find_runs(Path(path))]
    if not folders:
        raise UserError(
            "the command line",
            [Problem("RUN", "is missing", remedy="For example: viewfinder sync outputs logger=mlflow")],
        )
    problems: list[Problem] = []
    silent: set[tuple[str, str]] = set()
    count = 0
    for run in folders:
        try:
            loggers = chosen if chosen is not None else run.read_settings().get("logger", {})
            if invalid := validate_loggers(loggers):
                raise UserError("the configuration", invalid)
        except UserError as error:
            problems += error.problems
            continue
        trackers = list_trackers({"logger": loggers})
        count += len(trackers)
        if not trackers:
            print(printable(f"left out     {run.path}: it has no tracker; add logger=mlflow or logger=wandb"))
        for name, node in trackers.items():
            try:
                line = sync_run(run, name, node, Path.cwd() if chosen is not None else None, silent)
                print(printable(f"{name:8} {line}"), flush=True)
            except UserError as error:
                problems += [problem for problem in error.problems if problem not in problems]
    if problems:
        raise UserError("the trackers", problems)
    if not count:
        raise typer.Exit(2)


def _compose_loggers(overrides: list[str]) -> dict[str, Any]:
    """Return the group `logger` as overrides choose it.

    Raises:
        UserError: if one is invalid, or they choose no tracker.
    """
    from viewfinder.config.loggers import list_trackers
    from viewfinder.config.overrides import STAGE, compose_config
    from viewfinder.config.yaml_text import to_settings
    from viewfinder.errors import Problem, UserError

    loggers: dict[str, Any] = to_settings(compose_config(overrides))["logger"]
    if not list_trackers({"logger": loggers}):
        rule, remedy = "chooses no tracker", "For example logger=mlflow."
        raise UserError(STAGE, [Problem("logger", rule, overrides[-1].partition("=")[2], remedy)])
    return loggers
