"""A trial that is a training: a run folder, begun or continued, whose epochs are reported to the study."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from omegaconf import DictConfig, OmegaConf

from viewfinder.config.overrides import STAGE, compose_config
from viewfinder.errors import Problem, UserError
from viewfinder.experiment.build import check_config
from viewfinder.runs.create import write_failure
from viewfinder.runs.folder import RunFolder
from viewfinder.runs.naming import make_dated_folder
from viewfinder.sweeps.job import FAILED, Job, run_job
from viewfinder.sweeps.search.space import Typed, check_corners
from viewfinder.sweeps.search.study import Outcome, SearchFolder, Taken, TrialState


def begin(typed: Typed, name: str | None) -> SearchFolder:
    """A new search, once every choice and bound has been seen to work, or the one that is there already.

    Args:
        name: of its folder in output_dir; None makes a dated one.

    Raises:
        UserError: if a value cannot work, or another search, or something else, is there.
    """
    output = Path(typed.first.output_dir)
    if name is not None and (folder := SearchFolder(output / name)).frozen.is_file():
        folder.begin(typed)
        return folder
    names: dict[str, None] = {}

    def check(cfg: DictConfig) -> None:
        names[str(cfg.name)] = None
        check_config(cfg)
        if (devices := cfg.trainer.get("devices", 1)) != 1:
            rule = "a search runs each of its trials in a single process"
            raise UserError(STAGE, [Problem("trainer.devices", rule, str(devices))])

    check_corners(typed, check)
    folder = SearchFolder(output / name if name is not None else make_dated_folder(output / "-".join(names)))
    folder.begin(typed)
    return folder


@dataclass
class Training:
    """An objective: the best validation accuracy of a run. Called with a trial, in that trial's process."""

    folder: SearchFolder
    typed: Typed
    is_pruning: bool

    def __call__(self, trial: Taken) -> int:
        """Train; the exit code, as viewfinder.sweeps.job has it."""
        words = self.typed.words(trial.values)
        sys.argv = ["viewfinder", "train", *words]  # what run.json names as the command
        sys.orig_argv = [sys.executable, *sys.argv]
        path = self.folder.trial(trial.number)
        try:
            # An earlier process of this trial may be saving yet, after the search that started it was killed.
            with self.folder.lock(f"{trial.number}.process"):
                cfg: Any = OmegaConf.to_container(compose_config(words))
                return run_job(Job(path, cfg, words), Reports(self.folder.study(self.is_pruning), trial))
        except UserError as error:
            print(error, file=sys.stderr)
            self._write_failure(path, words, error.reason)
            return FAILED

    def outcome(self, trial: Taken) -> Outcome | None:
        """What run.json says; None where there is something left to do."""
        run = RunFolder(self.folder.trial(trial.number))
        if not run.run.is_file():
            return None
        facts = run.read_run()
        if facts["status"] == "finished":
            return Outcome(TrialState.COMPLETE, run.read_scores()["best"]["val"]["accuracy"])
        if facts["status"] == "pruned":
            return Outcome(TrialState.PRUNED)
        return Outcome(TrialState.FAIL, reason=facts.get("error", "")) if facts["status"] == "failed" else None

    def lost(self, trial: Taken, reason: str) -> None:
        path = self.folder.trial(trial.number)
        self._write_failure(path, self.typed.words(trial.values), reason)

    def _write_failure(self, path: Path, words: list[str], reason: str) -> None:
        settings: Any = OmegaConf.to_container(self.typed.first)
        write_failure(path, settings, words, reason)


class Reports:
    """Reports each epoch's validation accuracy to the study once, whatever was killed when; asks whether to prune."""

    def __init__(self, study: optuna.Study, trial: Taken):
        self.trial = optuna.trial.Trial(study, trial.id)
        (known,) = (each for each in study.get_trials(deepcopy=False) if each.number == trial.number)
        self.reported = set(known.intermediate_values)

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> bool:
        for row in rows:
            if row["epoch"] not in self.reported:
                self.trial.report(row["val/accuracy"], row["epoch"])
                self.reported.add(row["epoch"])
        return self.trial.should_prune()
