"""The end of a search: its trials as a table, the best one and how to go on."""

import shlex
from collections import Counter
from typing import Any, NamedTuple

import pandas as pd
from optuna.trial import TrialState
from rich.table import Table

from viewfinder.errors import printable
from viewfinder.evaluation.settings import shorten_keys
from viewfinder.reporting.charts.search import Axis
from viewfinder.reporting.tables import measure_width, open_console
from viewfinder.runs.folder import RunFolder
from viewfinder.sweeps.search.space import LOG_FACTOR, Space, Typed
from viewfinder.sweeps.search.study import REASON, STARTUP, WARMUP, Search

PRUNING = (
    f"pruned is a trial that is below the median of the complete ones at the\n"
    f"         same epoch, from epoch {WARMUP} on, once {STARTUP} are complete"
)
ORDER = ("complete", "pruned", "failed", "running", "interrupted")


def trial_table(search: Search) -> pd.DataFrame:
    """A row a trial, the best first: trial, a column a parameter, status, epochs, best accuracy, why it failed."""
    rows = []
    for each in search.trials():
        states = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed"}
        status = states.get(each.state) or ("running" if search.is_anyones(each.number) else "interrupted")
        accuracies = [*each.intermediate_values.values(), *([each.value] if status == "complete" else [])]
        rows.append({
            "trial": each.number,
            **{name: each.params.get(name) for name in search.space},
            "status": status,
            "epochs": each.last_step or 0,
            "accuracy": max((value for value in accuracies if value is not None), default=None),
            "reason": each.user_attrs.get(REASON, ""),
        })  # fmt: skip
    rows.sort(key=lambda row: (ORDER.index(row["status"]), -(row["accuracy"] or 0), row["trial"]))
    return pd.DataFrame(rows, columns=["trial", *search.space, "status", "epochs", "accuracy", "reason"])


class Again(NamedTuple):
    """What was typed, to be typed again."""

    overrides: list[str]
    name: str
    sampler: str
    is_pruning: bool

    def command(self, total: int) -> str:
        options = ["--sampler", self.sampler] if self.sampler != "tpe" else []
        options += [] if self.is_pruning else ["--no-prune"]
        words = ["viewfinder", "search", *self.overrides, "--name", self.name, *options, "--trials", str(total)]
        return shlex.join(words)


def say_search(search: Search, again: Again, total: int) -> None:
    """Where, how much of it there is, what is searched and how."""
    terminal = open_console()
    states = [each.state for each in search.trials()]
    finished = sum(state.is_finished() for state in states)
    before = f", {finished} of them finished" if states else ""
    terminal.print(f"search   {search.folder.path}: {total} trials{before}", soft_wrap=True)
    how = "tree-structured Parzen estimators (TPE)" if again.sampler == "tpe" else "random values"
    terminal.print(f"         by {how}")
    terminal.print(f"         {PRUNING if again.is_pruning else 'no trial is pruned'}")
    for number, (name, each) in enumerate(search.space.items()):
        terminal.print(printable(f"{'' if number else 'space':8} {name}: {each}"), soft_wrap=True)
    if any(each.is_log_by_rule for each in search.space.values()):
        terminal.print(f"         log, since the bounds are {LOG_FACTOR} times apart: tag(linear, ...) undoes it")
    terminal.print()


def print_summary(search: Search, typed: Typed, table: pd.DataFrame, again: Again, total: int) -> None:
    """The table, what failed and why, the best trial's command and test scores, and how to go on.

    Args:
        total: trials that were asked for.
    """
    terminal = open_console()
    counts = Counter(table["status"])
    said = ", ".join(f"{counts[status]} {status}" for status in ORDER if counts[status])
    terminal.print(f"search {search.folder.path}: {said}\n", soft_wrap=True)
    drawn = _drawn(table, search.space, is_narrow=False)
    if measure_width(drawn) > terminal.width:
        drawn = _drawn(table, search.space, is_narrow=True)
    terminal.print(drawn)
    for row in table.to_dict("records"):
        if row["status"] == "failed":
            terminal.print(printable(f"trial {row['trial']} failed: {row['reason']}"), soft_wrap=True)
    if counts["complete"]:
        best = search.study.best_trial
        scores = RunFolder(search.folder.trial(best.number)).read_scores()["best"]
        val, test = (scores[split]["accuracy"] for split in ("val", "test"))
        terminal.print(f"\nbest     trial {best.number}: val accuracy {val:.4f}, test accuracy {test:.4f}, F1 "
                       f"{scores['test']['f1']:.4f} at epoch {scores['epoch']}", soft_wrap=True)  # fmt: skip
        terminal.print("         chosen by validation alone", style="dim")
        words = ["viewfinder", "train", *typed.words(best.params)]
        terminal.print(f"repeat   {shlex.join(words)}", soft_wrap=True)
    terminal.print(f"chart    {search.folder.chart}", soft_wrap=True)
    finished = sum(counts[status] for status in ORDER[:3])
    is_over = finished >= total
    terminal.print(f"{'more' if is_over else 'go on':8} {again.command(2 * total if is_over else total)}",
                   soft_wrap=True)  # fmt: skip


def axes_of(space: Space) -> dict[str, Axis]:
    """Of the numeric parameters, what the chart needs to know."""
    return {
        name: Axis(each.distribution.low, each.distribution.high, each.scale)  # type: ignore[attr-defined]
        for name, each in space.items()
        if each.is_numeric
    }


def _drawn(table: pd.DataFrame, space: Space, is_narrow: bool) -> Table:
    """A column a parameter; or, where they do not fit beside each other, all values in one."""
    names = shorten_keys(set(space))
    columns = ["values"] if is_narrow else list(names.values())
    drawn = Table(box=None, pad_edge=False)
    for column in ("trial", *columns, "status", "epochs", "val accuracy"):
        is_number = column in ("trial", "epochs", "val accuracy")
        drawn.add_column(printable(column), justify="right" if is_number else "left", overflow="fold", no_wrap=False)
    for row in table.to_dict("records"):
        values = {name: _said(row[key]) for key, name in names.items()}
        cells = [" ".join(f"{name}={value}" for name, value in values.items())] if is_narrow else values.values()
        accuracy = "" if pd.isna(row["accuracy"]) else f"{row['accuracy']:.4f}"
        drawn.add_row(str(row["trial"]), *map(printable, cells), row["status"], str(row["epochs"]), accuracy)
    return drawn


def _said(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
