"""Command of a search, from its overrides to its summary."""

from typing import NamedTuple

from sqlalchemy.exc import OperationalError

from viewfinder.errors import FAILED, Problem, UserError
from viewfinder.reporting.charts.files import save_figure
from viewfinder.reporting.charts.search import draw_search
from viewfinder.reporting.pages.search import render_search
from viewfinder.runs.atomic import replace_text
from viewfinder.sweeps.executors.local import LocalExecutor
from viewfinder.sweeps.search.folder import SearchFolder
from viewfinder.sweeps.search.run import run_trials
from viewfinder.sweeps.search.space import SearchSpec
from viewfinder.sweeps.search.study import Search
from viewfinder.sweeps.search.summary import (
    SearchCommand,
    build_trial_table,
    describe_axes,
    format_repeat_command,
    print_start,
    print_summary,
)
from viewfinder.sweeps.search.trial import TrainingObjective


class Request(NamedTuple):
    """Arguments of `viewfinder search`; plain values."""

    overrides: list[str]
    name: str
    trials: int
    sampler: str
    is_pruning: bool


def run_search(request: Request, folder: SearchFolder, spec: SearchSpec) -> int:
    """Run trials in this process's children until enough have ended, and print the summary.

    Returns:
        Exit code: 0 if a trial is complete, FAILED if not, or 128 plus the number of the signal that stopped it.

    Raises:
        UserError: if the study cannot be read or written.
    """
    command = SearchCommand(request.overrides, request.name, request.sampler, request.is_pruning)
    try:
        search = Search(folder, spec.space, request.sampler, spec.example.seed, request.is_pruning)
        objective = TrainingObjective(folder, spec, request.is_pruning)
        print_start(search, command, request.trials)
        with LocalExecutor(objective) as executor:
            stop_signal = run_trials(search, executor, objective, request.trials)
        is_complete = summarise_search(search, spec, command, request.trials)
    except OperationalError as error:  # for example a full disk
        rule = f"cannot be read or written: {error.orig}"
        raise UserError("the search", [Problem(str(folder.database), rule)]) from error
    return 128 + stop_signal if stop_signal else 0 if is_complete else FAILED


def summarise_search(search: Search, spec: SearchSpec, command: SearchCommand, total: int) -> bool:
    """Print the trials of a search, and write its chart and its page; return whether one is complete."""
    table = build_trial_table(search)
    axes, is_complete = describe_axes(spec.space), "complete" in set(table["status"])
    save_figure(draw_search(table, axes), search.folder.chart)
    repeat = format_repeat_command(search, spec) if is_complete else None
    replace_text(search.folder.page, render_search(table, axes, search.folder.path.name, command.format(total), repeat))
    print_summary(search, spec, table, command, total)
    return is_complete
