"""Runs as a table, and what remains of it when seeds are averaged."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from omegaconf import OmegaConf

from viewfinder.config.flatten import flat
from viewfinder.errors import Problem, UserError, join_names
from viewfinder.evaluation.paired import say_difference
from viewfinder.evaluation.repeat import repeat_command
from viewfinder.evaluation.settings import describe, differing, with_phases
from viewfinder.runs.folder import RunFolder

SCORES = ("best_val", "best_test", "best_f1", "last_val", "last_test")


class Compared(NamedTuple):
    """The finished ones of some runs, and the others."""

    table: pd.DataFrame
    """a row a run: run (its path), setting, seed, best_epoch and its accuracies and F1"""
    swept: list[dict[str, Any]]
    """for each row the keys in which its setting differs from some other, with their values"""
    skipped: list[tuple[Path, str]]
    """runs that are left out, and why"""
    notes: Sequence[str] = ()
    """in what they differ that is no setting: precision, code, versions"""

    def rows(self) -> pd.DataFrame:
        """A row for each setting and seed: of runs equal in both the last counts. Its index leads into `swept`."""
        return self.table.drop_duplicates(["setting", "seed"], keep="last")


def read_runs(folders: Sequence[RunFolder]) -> Compared:
    """The table of some runs, none of which need have finished; a setting is written as that in which they differ."""
    rows, configs, made, skipped = [], [], [], []
    for folder in folders:
        try:
            facts = folder.read_run()
            if facts["status"] != "finished" or not folder.scores.is_file():
                skipped.append((folder.path, facts.get("error") or folder.status))
                continue
            scores, cfg = folder.read_scores(), folder.read_config()
        except UserError as error:
            skipped.append((folder.path, error.reason))
            continue
        best, last = scores["best"], scores["last"]
        rows.append({
            "run": str(folder.path),
            "seed": cfg.seed,
            "best_epoch": best["epoch"],
            "best_val": best["val"]["accuracy"],
            "best_test": best["test"]["accuracy"],
            "best_f1": best["test"]["f1"],
            "last_val": last["val"]["accuracy"],
            "last_test": last["test"]["accuracy"],
        })  # fmt: skip
        config: Any = OmegaConf.to_container(cfg)
        configs.append(flat(config))
        made.append(facts)
    configs = with_phases(configs, [facts.get("overrides", []) for facts in made])
    table = pd.DataFrame(rows, columns=["run", "seed", "best_epoch", *SCORES])
    table.insert(0, "setting", describe(configs))
    return Compared(table, differing(configs), skipped, _notes(made))


def _notes(made: Sequence[dict[str, Any]]) -> list[str]:
    """What a person should know who averages over runs of which run.json says this."""
    notes = []
    precisions = Counter(facts["precision"] for facts in made if "precision" in facts)
    if len(precisions) > 1:
        counts = join_names(f"{count} in {precision}" for precision, count in precisions.most_common())
        notes.append(f"Trained in different precisions ({counts}): trainer.precision=32-true makes runs alike.")
    for what in ("code", "versions"):
        values: dict[str, set[str]] = {}
        for facts in made:
            for name, value in facts.get(what, {}).items():
                values.setdefault(name, set()).add(value)
        if differ := sorted(name for name, found in values.items() if len(found) > 1):
            notes.append(f"Made by different {what} of {join_names(differ)}.")
    return notes


def require_finished(compared: Compared) -> None:
    """Raises UserError if no run has finished, with the reason of each."""
    if compared.table.empty:
        problems = [Problem(str(path), f"left out: {reason}") for path, reason in compared.skipped]
        raise UserError("the runs: none has finished", problems)


def summarise_settings(table: pd.DataFrame) -> pd.DataFrame:
    """A row a setting, the best validation accuracy first; of runs equal even in their seed the last counts.

    Columns: setting, seeds, best_epoch, <score>_mean and <score>_std; the deviation is the sample's, NaN for a
    single seed.
    """
    grouped = table.drop_duplicates(["setting", "seed"], keep="last").groupby("setting", sort=False)
    columns = {f"{name}_{how}": (name, how) for name in SCORES for how in ("mean", "std")}
    summary = grouped.agg(seeds=("seed", "nunique"), best_epoch=("best_epoch", "mean"), **columns)
    return summary.reset_index().sort_values("best_val_mean", ascending=False, kind="stable", ignore_index=True)


class Best(NamedTuple):
    """What is said of the best setting by validation."""

    lead: list[str]
    """lines: its lead over the next; [] where it is the only one"""
    command: str | None
    """that repeats it, where its runs say what was typed"""


def say_best(compared: Compared, summary: pd.DataFrame) -> Best:
    """The best setting against the runner-up, and its command; `summary` is that of `summarise_settings`."""
    if summary.empty:
        return Best([], None)
    settings, rows = list(summary["setting"]), compared.rows()
    lead = say_difference(rows, settings[0], settings[1], len(settings)) if len(settings) > 1 else []
    best = rows[rows["setting"] == settings[0]]
    return Best(lead, repeat_command([RunFolder(Path(path)) for path in best["run"]], best["seed"]))
