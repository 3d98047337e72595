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
    workers: Annotated[int, typer.Option(min=1, help="Jobs that share the trials, with hydra/launcher=NAME.")] = 1,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Submit these jobs and exit.")] = False,
) -> None:
    """Search for the best validation accuracy; each trial is a run.

    The same command with the same --name continues the search; run in several terminals, it divides the trials among
    them. Exits with 2 if no trial is complete, with 130 after Ctrl-C.
    """
    from viewfinder.cli.own_files import print_own_files
    from viewfinder.errors import Problem, UserError

    if find_spec("optuna") is None:
        rule, remedy = "needs Optuna, which is not installed", 'pip install "viewfinder[search]"'
        raise UserError("the installation", [Problem("viewfinder search", rule, remedy=remedy)])
    sys.path.insert(0, str(Path.cwd()))
    with fast_imports():
        from viewfinder.sweeps.search.trial import prepare_search
    from viewfinder.sweeps.executors.open import open_executor
    from viewfinder.sweeps.launcher import compose_search_launcher, is_local
    from viewfinder.sweeps.search.command import Request, run_search
    from viewfinder.sweeps.search.space import parse_search_spec
    from viewfinder.sweeps.search.summary import SearchCommand
    from viewfinder.sweeps.search.workers import queue_search

    launcher, own = compose_search_launcher(overrides)
    if is_local(launcher) and (workers > 1 or no_wait):
        option, value = ("--workers", str(workers)) if workers > 1 else ("--no-wait", None)
        remedy = "Add hydra/launcher=NAME, such as submitit_slurm; see docs/clusters.md."
        raise UserError("the command line", [Problem(option, "needs the launcher of a scheduler", value, remedy)])
    spec = parse_search_spec(own)
    print_own_files()
    if not is_local(launcher):
        open_executor(launcher, Path(spec.example.output_dir)).check([])
    folder = prepare_search(spec, name, is_shared=not is_local(launcher))
    name = name or str(folder.path.relative_to(spec.example.output_dir))
    request = Request(own, name, trials, sampler.value, not no_prune)
    if is_local(launcher):
        raise typer.Exit(run_search(request, folder, spec))
    command = SearchCommand(overrides, name, sampler.value, not no_prune, workers)
    raise typer.Exit(queue_search(request, folder, spec, launcher, command, not no_wait))
