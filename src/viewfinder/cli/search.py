"""`viewfinder search`: hyper-parameter search with Optuna."""

import sys
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from viewfinder.training.runtime import fast_imports


class Sampler(StrEnum):
    tpe = "tpe"
    random = "random"


def search(
    overrides: Annotated[
        list[str],
        typer.Argument(
            metavar="KEY=VALUE...",
            help="As for train; 'key=interval(1e-4,1e-1)', 'key=range(8,33,8)' and key=a,b are searched.",
        ),
    ],
    trials: Annotated[int, typer.Option(min=1, help="Total number, including earlier ones.")] = 20,
    name: Annotated[str | None, typer.Option(help="Folder in output_dir; an existing search continues.")] = None,
    sampler: Annotated[Sampler, typer.Option(help="Method that draws the values.")] = Sampler.tpe,
    no_prune: Annotated[bool, typer.Option("--no-prune", help="Train every trial to the end.")] = False,
) -> None:
    """Search for the best validation accuracy; each trial is a run.

    The same command with the same --name continues the search; run in several terminals, it divides the trials among
    them. Exits with 2 if no trial is complete, with 130 after Ctrl-C.
    """
    from viewfinder.config.own_files import describe_own_files
    from viewfinder.errors import Problem, UserError, printable

    if find_spec("optuna") is None:
        rule, remedy = "needs Optuna, which is not installed", 'pip install "viewfinder[search]"'
        raise UserError("the installation", [Problem("viewfinder search", rule, remedy=remedy)])
    from viewfinder.sweeps.executors.local import LocalExecutor

    sys.path.insert(0, str(Path.cwd()))
    from sqlalchemy.exc import OperationalError

    with fast_imports():
        from viewfinder.sweeps.search.trial import TrainingObjective, prepare_search
    from viewfinder.reporting.charts.files import save_figure
    from viewfinder.reporting.charts.search import draw_search
    from viewfinder.sweeps.search.run import run_trials
    from viewfinder.sweeps.search.space import parse_search_spec
    from viewfinder.sweeps.search.study import Search
    from viewfinder.sweeps.search.summary import (
        SearchCommand,
        build_trial_table,
        describe_axes,
        print_start,
        print_summary,
    )

    spec = parse_search_spec(overrides)
    for line in describe_own_files():
        print(printable(line), flush=True)
    folder = prepare_search(spec, name)
    name = name or str(folder.path.relative_to(spec.example.output_dir))
    search_command = SearchCommand(overrides, name, sampler.value, not no_prune)
    try:
        search = Search(folder, spec.space, sampler.value, spec.example.seed, not no_prune)
        objective = TrainingObjective(folder, spec, not no_prune)
        print_start(search, search_command, trials)
        with LocalExecutor(objective) as executor:
            stop_signal = run_trials(search, executor, objective, trials)
        table = build_trial_table(search)
        save_figure(draw_search(table, describe_axes(spec.space)), folder.chart)
        print_summary(search, spec, table, search_command, trials)
    except OperationalError as error:  # for example a full disk
        rule = f"cannot be read or written: {error.orig}"
        raise UserError("the search", [Problem(str(folder.database), rule)]) from error
    raise typer.Exit(128 + stop_signal if stop_signal else 0 if "complete" in set(table["status"]) else 2)
