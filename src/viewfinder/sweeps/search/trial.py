"""Trials that train a network, and report each epoch to the study."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from omegaconf import DictConfig
from optuna.trial import TrialState

from viewfinder.config.overrides import STAGE, compose_config
from viewfinder.config.yaml_text import to_settings
from viewfinder.errors import FAILED, Problem, UserError
from viewfinder.experiment.check import check_config
from viewfinder.runs.create import write_failure
from viewfinder.runs.folder import RunFolder
from viewfinder.runs.naming import make_dated_folder
from viewfinder.sweeps.job import Job, run_job
from viewfinder.sweeps.search.folder import SearchFolder
from viewfinder.sweeps.search.optuna_internals import open_trial
from viewfinder.sweeps.search.space import SearchSpec, check_corners
from viewfinder.sweeps.search.study import ClaimedTrial, Outcome


def prepare_search(spec: SearchSpec, name: str | None, is_shared: bool = False) -> SearchFolder:
    """Create a search after checking every choice and bound, or continue the existing one.

    Args:
        spec: space and fixed overrides.
        name: folder below output_dir; None for a dated one.
        is_shared: whether several machines run trials.

    Raises:
        UserError: if a value is invalid, or the folder contains another search or something else.
    """
    output_dir = Path(spec.example.output_dir)
    if name is not None and (folder := SearchFolder(output_dir / name)).spec.is_file():
        folder.create_or_continue(spec, is_shared)
        return folder
    names: dict[str, None] = {}

    def check(cfg: DictConfig) -> None:
        names[str(cfg.name)] = None
        check_config(cfg)
        for key in ("devices", "num_nodes"):
            if (count := cfg.trainer.get(key, 1)) != 1:
                rule = "must be 1: a search runs each trial in a single process"
                raise UserError(STAGE, [Problem(f"trainer.{key}", rule, str(count))])

    check_corners(spec, check)
    folder = SearchFolder(output_dir / name if name is not None else make_dated_folder(output_dir / "-".join(names)))
    folder.create_or_continue(spec, is_shared)
    return folder


@dataclass
class TrainingObjective:
    """Objective that trains a trial's run in the trial's process; its score is the best validation accuracy."""

    folder: SearchFolder
    spec: SearchSpec
    is_pruning: bool

    def __call__(self, trial: ClaimedTrial) -> int:
        """Train the trial's run, and return an exit code as `run_job` does."""
        overrides = self.spec.build_overrides(trial.values)
        sys.argv = ["viewfinder", "train", *overrides]  # recorded as the command in run.json
        sys.orig_argv = [sys.executable, *sys.argv]
        path = self.folder.trial_folder(trial.number)
        try:
            # A process of this trial may still be saving after its search was killed.
            with self.folder.locked(f"{trial.number}.process", "the earlier process of this trial"):
                config = to_settings(compose_config(overrides))
                reporter = EpochReporter(self.folder.load_study(self.is_pruning), trial)
                return run_job(Job(path, config, overrides), reporter)
        except UserError as error:
            print(error, file=sys.stderr)
            self.record_failure(trial, error.reason)
            return FAILED

    def read_outcome(self, trial: ClaimedTrial) -> Outcome | None:
        """Read the outcome of a trial's run, or None if the run has not ended."""
        run = RunFolder(self.folder.trial_folder(trial.number))
        if not run.run.is_file():
            return None
        facts = run.read_run()
        if facts["status"] == "finished":
            return Outcome(TrialState.COMPLETE, run.read_scores()["best"]["val"]["accuracy"])
        if facts["status"] == "pruned":
            return Outcome(TrialState.PRUNED)
        return Outcome(TrialState.FAIL, reason=facts.get("error", "")) if facts["status"] == "failed" else None

    def record_failure(self, trial: ClaimedTrial, reason: str) -> None:
        """Write to run.json why the trial failed."""
        config = to_settings(self.spec.example)
        path, overrides = self.folder.trial_folder(trial.number), self.spec.build_overrides(trial.values)
        write_failure(path, config, overrides, reason)


class EpochReporter:
    """Callback that reports the validation accuracy of each epoch once, even in a resumed trial.

    Args:
        study: the study.
        trial: the trial to report.
    """

    def __init__(self, study: optuna.Study, trial: ClaimedTrial):
        self.trial = open_trial(study, trial.number)
        (stored,) = (candidate for candidate in study.get_trials(deepcopy=False) if candidate.number == trial.number)
        self.reported_epochs = set(stored.intermediate_values)

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> bool:
        """Report new rows of metrics.csv, and return whether to prune the trial."""
        for row in rows:
            if row["epoch"] not in self.reported_epochs:
                self.trial.report(row["val/accuracy"], row["epoch"])
                self.reported_epochs.add(row["epoch"])
        return self.trial.should_prune()
