"""Weights & Biases as a tracker."""

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from viewfinder.config.validate import Text
from viewfinder.errors import Problem, UserError
from viewfinder.reporting.trackers.tracker import RunFile, TrackedRun, Tracker, require_package

OFFLINE_MODES = ("offline", "dryrun")
"""Values of WANDB_MODE that make W&B write files only."""
START_SECONDS = 30
"""Seconds after which an unreachable server is a failure."""


class Wandb(Tracker):
    """Runs at Weights & Biases, or its files for `wandb sync` in the folder wandb/ of the run folder.

    Offline, the files of an earlier process are replaced: one folder holds the whole run.

    Args:
        project: the project, which is created if it is missing.
        entity: user or team; None for the account's own.
        group: name under which runs are grouped; None for the name of the sweep.
        tags: tags of the run.
        offline: write files alone, as with WANDB_MODE=offline.
        files: files to store as an artifact.
    """

    def __init__(
        self,
        project: Text = "viewfinder",
        entity: Text | None = None,
        group: Text | None = None,
        tags: tuple[Text, ...] = (),
        offline: bool = False,
        files: tuple[RunFile, ...] = (),
    ):
        super().__init__(files)
        require_package("wandb")
        self.project, self.entity, self.group, self.tags = project, entity, group, tags
        self.is_offline = offline or os.environ.get("WANDB_MODE") in OFFLINE_MODES
        self.run: Any = None

    def describe_place(self, run: TrackedRun) -> str:
        if self.is_offline:
            return f"{run.folder / 'wandb'}, for wandb sync"
        server = os.environ.get("WANDB_BASE_URL", "https://wandb.ai")
        return "/".join([server, *([self.entity] if self.entity else []), self.project])

    def open(self, run: TrackedRun) -> int:
        import wandb

        if self.is_offline:
            for folder in (run.folder / "wandb").glob(f"offline-run-*-{run.id}"):
                shutil.rmtree(folder)
        self.run = wandb.init(
            project=self.project,
            entity=self.entity,
            id=run.id,
            name=run.name,
            group=self.group or run.group,
            tags=list(self.tags),
            notes=f"Run folder: {run.folder}",
            dir=run.folder,
            mode="offline" if self.is_offline else None,
            resume=None if self.is_offline else "allow",
            reinit="finish_previous",
            settings=wandb.Settings(
                silent=True, console="off", disable_git=True, x_disable_stats=True, init_timeout=START_SECONDS
            ),
        )
        self._check_mode()
        self.run.config.update(dict(run.settings), allow_val_change=True)
        self.run.define_metric("epoch")
        self.run.define_metric("*", step_metric="epoch")
        return 0 if self.is_offline else max(self.run.starting_step - 1, 0)

    def _check_mode(self) -> None:
        """Raise UserError if W&B's own settings let a run send nothing, which would then be recorded as sent."""
        if self.run.disabled:
            rule = "is switched off by WANDB_MODE=disabled or by `wandb disabled`"
            remedy = "Unset WANDB_MODE, or run `wandb enabled`."
        elif self.run.offline and not self.is_offline:
            rule, remedy = "is offline by `wandb offline`", "Set logger.wandb.offline=true, or run `wandb online`."
        else:
            return
        raise UserError("the tracker", [Problem("W&B", rule, remedy=remedy)])

    def send_epochs(self, rows: Sequence[Mapping[str, float]], times: Sequence[float]) -> None:
        for row, time in zip(rows, times, strict=True):  # W&B ignores a step that it has
            self.run.log({**row, "_timestamp": time}, step=int(row["epoch"]), commit=True)

    def send_results(self, epoch: int, scores: Mapping[str, float], files: Sequence[Path]) -> None:
        import wandb

        media = {file.stem: _show(file) for file in files if file.suffix in (".png", ".html")}
        self.run.summary.update({**scores, "best/epoch": epoch, **media})
        artifact = wandb.Artifact(f"run-{self.run.id}", type="results")
        for file in files:
            artifact.add_file(str(file), name=file.name, policy="immutable")
        if files:
            self.run.log_artifact(artifact)  # equal content is stored once

    def close(self, status: str) -> None:
        self.run.finish(exit_code=0 if status in ("finished", "pruned") else 1)


def _show(file: Path) -> Any:
    """Return an image or a page as a panel of the run."""
    import wandb

    return wandb.Image(str(file)) if file.suffix == ".png" else wandb.Html(file.read_text(), inject=False)
