"""Verification of a record: its command is run again, whole or for some epochs, and the accuracies are compared."""

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from omegaconf import DictConfig

from viewfinder.config.flatten import is_neutral
from viewfinder.config.overrides import compose_config
from viewfinder.config.paths import DATA_KEYS
from viewfinder.config.record import STAGE, Figure, Record, Scores
from viewfinder.errors import Problem, Pruned, UserError
from viewfinder.evaluation.agreement import Compared, compare_figures
from viewfinder.experiment.check import check_config
from viewfinder.experiment.run import run_experiment
from viewfinder.runs.folder import RunFolder
from viewfinder.runs.naming import find_dated_path

FREE_KEYS = (*DATA_KEYS, "seed", "trainer", "trainer.accelerator", "trainer.threads", "trainer.precision")
"""Keys that may differ from the record: where its data and hardware are, and its precision, which it may name."""


class Plan(NamedTuple):
    """One run of a record."""

    setting: str
    """words at the end of the record's command"""
    overrides: list[str]
    cfg: DictConfig


class Verified(NamedTuple):
    """A run, and its accuracies beside the recorded ones."""

    setting: str
    overrides: list[str]
    run: RunFolder
    precision: str
    seconds: float
    compared: list[Compared]
    note: str
    """why nothing can be compared, or ''"""


def plan_runs(record: Record, typed: Sequence[str], seed: int | None, epochs: int | None) -> list[Plan]:
    """Compose and check the runs of a record, one for each setting.

    Args:
        record: the record.
        typed: overrides in addition to its command.
        seed: seed of the runs; None for the first of the record.
        epochs: number of epochs; None for all of them.

    Raises:
        UserError: if the record leaves a key open that is not typed, an override is invalid, or there are fewer epochs.
    """
    plans = []
    for setting in record.settings():
        overrides = record.build_overrides(setting, typed, record.seeds[0] if seed is None else seed)
        cfg = compose_config(overrides)
        check_config(cfg)
        plans.append(Plan(setting, overrides, cfg))
    if epochs is not None and epochs > (most := min(plan.cfg.trainer.max_epochs for plan in plans)):
        rule = "is more than the experiment has"
        raise UserError(STAGE, [Problem("--epochs", rule, str(epochs), f"Pass at most {most}, or leave it out.")])
    if len(plans) > 1 and plans[0].cfg.run_dir:
        rule, remedy = f"is one folder, but the record has {len(plans)} runs", "Use output_dir=PATH."
        raise UserError(STAGE, [Problem("run_dir", rule, str(plans[0].cfg.run_dir), remedy)])
    return plans


def find_changes(record: Record, typed: Sequence[str]) -> list[str]:
    """Return the typed overrides with which accuracies may differ from those of the record."""
    keys = {word: word.partition("=")[0].lstrip("+~") for word in typed}
    free = {*FREE_KEYS, *record.open_keys()}
    changed = [word for word, key in keys.items() if not (key in free or is_neutral(key))]
    return [word for word in changed if word not in record.command]


def verify_runs(record: Record, plans: Sequence[Plan], epochs: int | None) -> Iterator[Verified]:
    """Train each run, and compare its accuracies with the recorded ones.

    With `epochs`, a run ends after this many of its epochs, with the schedule of the whole run, and its test split is
    not read.
    """
    for plan in plans:
        folder = Path(plan.cfg.run_dir) if plan.cfg.run_dir else find_dated_path(
            Path(plan.cfg.output_dir) / str(plan.cfg.name), "_verify"
        )  # fmt: skip
        rows: list[Mapping[str, Any]] = []

        def stop(so_far: Sequence[Mapping[str, Any]], rows: list[Mapping[str, Any]] = rows) -> bool:
            rows[:] = so_far
            return epochs is not None and len(so_far) >= epochs

        started = time.perf_counter()
        try:
            run = run_experiment(plan.cfg, folder, plan.overrides, after_epoch=stop)
            scores = run.read_scores()
        except Pruned:
            run, scores = RunFolder(folder), {}
        seconds = time.perf_counter() - started
        precision = run.read_run()["precision"]
        recorded, note = _find_scores(record, plan.setting, precision)
        if epochs is None:
            figures, measured = _list_final(recorded), _read_final(scores)
        else:
            figures = {f"val, epoch {number}": f for number, f in enumerate(recorded.val_epochs[:epochs], 1)}
            measured = {f"val, epoch {row['epoch']}": row["val/accuracy"] for row in rows}
        compared = compare_figures(figures, {} if note else measured, len(set(record.seeds)))
        yield Verified(plan.setting, plan.overrides, run, precision, seconds, compared, note)


def _find_scores(record: Record, setting: str, precision: str) -> tuple[Scores, str]:
    """Return the scores of a setting in a precision, and why they cannot be compared, or ''."""
    candidates = [scores for scores in record.scores if scores.overrides == setting]
    fitting = [scores for scores in candidates if scores.precision in (None, precision)]
    if fitting:
        return fitting[0], ""
    other = candidates[0].precision
    return candidates[0], f"Recorded in {other}, but this run is in {precision}. Add trainer.precision={other}."


def _list_final(scores: Scores) -> dict[str, Figure]:
    figures = {
        "val, best epoch": scores.val_best, "val, last epoch": scores.val_last,
        "test, best epoch": scores.test_best, "test, last epoch": scores.test_last,
    }  # fmt: skip
    return {name: figure for name, figure in figures.items() if figure is not None}


def _read_final(scores: Mapping[str, Any]) -> dict[str, float]:
    """Return the accuracies in scores.json by the names of `_list_final`; {} for a run that was not scored."""
    return {
        f"{split}, {weights} epoch": scores[weights][split]["accuracy"]
        for split in ("val", "test") for weights in scores
    }  # fmt: skip
