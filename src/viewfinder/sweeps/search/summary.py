"""Terminal output of a search: its start, its table of trials and its best trial."""

import shlex
from collections import Counter
from typing import Any, NamedTuple

import pandas as pd
from optuna.trial import TrialState
from rich.table import Table

from viewfinder.errors import printable
from viewfinder.evaluation.settings import shorten_keys
from viewfinder.reporting.charts.search import Axis
from viewfinder.reporting.style import is_learning_rate
from viewfinder.reporting.tables import measure_width, open_console
from viewfinder.runs.folder import RunFolder
from viewfinder.sweeps.search.folder import STARTUP_TRIALS, WARMUP_EPOCHS
from viewfinder.sweeps.search.space import LOG_FACTOR, SearchSpec, Space
from viewfinder.sweeps.search.study import FAILURE_REASON, Search

PRUNING = (
    f"a trial is pruned if it is below the median of the complete ones at the\n"
    f"         same epoch, from epoch {WARMUP_EPOCHS} on, once {STARTUP_TRIALS} are complete"
)
ENDED = ("complete", "pruned", "failed")
STATUSES = (*ENDED, "running", "interrupted")


def build_trial_table(search: Search) -> pd.DataFrame:
    """Tabulate trials, the best first.

    Returns:
        Columns trial, one for each parameter, status, epochs, accuracy (best validation accuracy) and reason.
    """
    names = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed"}
    rows = []
    for trial in search.trials():
        status = names.get(trial.state) or ("running" if search.is_running(trial.number) else "interrupted")
        accuracies = [*trial.intermediate_values.values(), *([trial.value] if status == "complete" else [])]
        rows.append({
            "trial": trial.number,
            **{name: trial.params.get(name) for name in search.space},
            "status": status,
            "epochs": trial.last_step or 0,
            "accuracy": max((value for value in accuracies if value is not None), default=None),
            "reason": trial.user_attrs.get(FAILURE_REASON, ""),
        })  # fmt: skip
    rows.sort(key=lambda row: (STATUSES.index(row["status"]), -(row["accuracy"] or 0), row["trial"]))
    return pd.DataFrame(rows, columns=["trial", *search.space, "status", "epochs", "accuracy", "reason"])


class SearchCommand(NamedTuple):
    """Command line that continues a search."""

    overrides: list[str]
    name: str
    sampler: str
    is_pruning: bool
    workers: int = 1
    """number of jobs of a scheduler that share the trials"""

    def format(self, total: int) -> str:
        """Return the command for this total number of trials."""
        options = ["--sampler", self.sampler] if self.sampler != "tpe" else []
        options += [] if self.is_pruning else ["--no-prune"]
        options += ["--workers", str(self.workers)] if self.workers > 1 else []
        arguments = ["viewfinder", "search", *self.overrides, "--name", self.name, *options, "--trials", str(total)]
        return shlex.join(arguments)


def print_start(search: Search, search_command: SearchCommand, total: int) -> None:
    """Print the folder, the number of trials, the method and the space of a search."""
    terminal = open_console()
    states = [trial.state for trial in search.trials()]
    ended = sum(state.is_finished() for state in states)
    progress = f", {ended} of them finished" if states else ""
    terminal.print(f"search   {search.folder.path}: {total} trials{progress}", soft_wrap=True)
    is_tpe = search_command.sampler == "tpe"
    terminal.print(f"sampler  {'tree-structured Parzen estimator (TPE)' if is_tpe else 'random values'}")
    terminal.print(f"pruning  {PRUNING if search_command.is_pruning else 'off'}")
    for index, (name, parameter) in enumerate(search.space.items()):
        terminal.print(printable(f"{'' if index else 'space':8} {name}: {parameter}"), soft_wrap=True)
    if any(parameter.is_log_by_default for parameter in search.space.values()):
        note = f"log scale for bounds {LOG_FACTOR} times apart or more; tag(linear, ...) avoids it"
        terminal.print(f"         {note}")
    terminal.print()


def print_summary(
    search: Search, spec: SearchSpec, table: pd.DataFrame, search_command: SearchCommand, total: int
) -> None:
    """Print the trials, the reasons of failures, the best trial's scores and command, and how to continue.

    Args:
        search: the search.
        spec: its specification.
        table: its trials, from `build_trial_table`.
        search_command: command that continues it.
        total: requested number of trials.
    """
    terminal = open_console()
    counts = Counter(table["status"])
    statuses = ", ".join(f"{counts[status]} {status}" for status in STATUSES if counts[status])
    terminal.print(f"search {search.folder.path}: {statuses}\n", soft_wrap=True)
    formatted = _format_table(table, search.space, is_narrow=False)
    if measure_width(formatted) > terminal.width:
        formatted = _format_table(table, search.space, is_narrow=True)
    terminal.print(formatted)
    for row in table.to_dict("records"):
        if row["status"] == "failed":
            terminal.print(printable(f"trial {row['trial']} failed: {row['reason']}"), soft_wrap=True)
    if counts["complete"]:
        best = search.study.best_trial
        scores = RunFolder(search.folder.trial_folder(best.number)).read_scores()["best"]
        val, test = (scores[split]["accuracy"] for split in ("val", "test"))
        terminal.print(f"\nbest     trial {best.number}: val accuracy {val:.4f}, test accuracy {test:.4f}, F1 "
                       f"{scores['test']['f1']:.4f} at epoch {scores['epoch']}", soft_wrap=True)  # fmt: skip
        terminal.print("         selected by validation accuracy alone", style="dim")
        terminal.print(f"repeat   {format_repeat_command(search, spec)}", soft_wrap=True)
    terminal.print(f"page     {search.folder.page}", soft_wrap=True)
    is_complete = sum(counts[status] for status in ENDED) >= total
    label, next_total = ("more", 2 * total) if is_complete else ("continue", total)
    terminal.print(f"{label:8} {search_command.format(next_total)}", soft_wrap=True)


def format_repeat_command(search: Search, spec: SearchSpec) -> str:
    """Return the command that repeats the best of the complete trials."""
    return shlex.join(["viewfinder", "train", *spec.build_overrides(search.study.best_trial.params)])


def describe_axes(space: Space) -> dict[str, Axis]:
    """Return the range and scale of each numeric parameter, for its chart; learning rates have a logarithmic scale."""
    axes = {}
    for name, parameter in space.items():
        if parameter.is_numeric:
            low, high = parameter.distribution.low, parameter.distribution.high  # type: ignore[attr-defined]
            is_log = is_learning_rate(name) and 0 < low < high
            axes[name] = Axis(low, high, "log" if is_log else parameter.scale)
    return axes


def _format_table(table: pd.DataFrame, space: Space, is_narrow: bool) -> Table:
    """Format trials with a column for each parameter, or all values in one column if `is_narrow`."""
    names = shorten_keys(set(space))
    columns = ["values"] if is_narrow else list(names.values())
    formatted = Table(box=None, pad_edge=False)
    for column in ("trial", *columns, "status", "epochs", "val accuracy"):
        is_number = column in ("trial", "epochs", "val accuracy")
        formatted.add_column(printable(column), justify="right" if is_number else "left", overflow="fold")
    for row in table.to_dict("records"):
        values = {name: _format_value(row[key]) for key, name in names.items()}
        cells = [" ".join(f"{name}={value}" for name, value in values.items())] if is_narrow else values.values()
        accuracy = "" if pd.isna(row["accuracy"]) else f"{row['accuracy']:.4f}"
        formatted.add_row(str(row["trial"]), *map(printable, cells), row["status"], str(row["epochs"]), accuracy)
    return formatted


def _format_value(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
