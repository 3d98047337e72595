"""MLflow as a tracker."""

import contextlib
import getpass
import os
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from viewfinder.config.validate import Text
from viewfinder.errors import Problem, UserError
from viewfinder.reporting.trackers.tracker import RunFile, TrackedRun, Tracker, require_package

SQLITE = "sqlite:///"
ID_TAG = "viewfinder.id"
EPOCH_METRIC = "val/loss"
"""Metric that every epoch has."""
MAX_PARAMS, MAX_ROWS = 100, 50
"""Parameters, and rows of up to 20 metrics, that MLflow takes at once."""
STATUSES = {"finished": "FINISHED", "failed": "FAILED"}
"""Status in run.json -> MLflow's; the others are KILLED."""


class MLflow(Tracker):
    """Runs in an MLflow server or database.

    Args:
        tracking_uri: the server or database; None for MLFLOW_TRACKING_URI, or else mlflow.db in the output folder.
        experiment_name: the experiment, which is created if it is missing.
        files: files to store as artifacts.
    """

    def __init__(
        self,
        tracking_uri: Text | None = None,
        experiment_name: Text = "viewfinder",
        files: tuple[RunFile, ...] = (),
    ):
        super().__init__(files)
        require_package("mlflow")
        self.tracking_uri, self.experiment_name = tracking_uri, experiment_name
        self.client: Any = None
        self.run_id = ""
        # An unreachable server is one failure, not minutes of retries.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")

    def describe_place(self, run: TrackedRun) -> str:
        return f"{_hide_password(self._find_uri(run))}, experiment {self.experiment_name}"

    def _find_uri(self, run: TrackedRun) -> str:
        uri, folder = f"{SQLITE}mlflow.db", run.output_dir
        if self.tracking_uri:
            uri, folder = self.tracking_uri, run.paths_from
        elif environment := os.environ.get("MLFLOW_TRACKING_URI"):
            uri, folder = environment, Path.cwd()
        return f"{SQLITE}{folder / uri.removeprefix(SQLITE)}" if uri.startswith(SQLITE) else uri

    def open(self, run: TrackedRun) -> int:
        from mlflow.tracking import MlflowClient

        uri = self._find_uri(run)
        if uri.startswith(SQLITE):
            Path(uri.removeprefix(SQLITE)).parent.mkdir(parents=True, exist_ok=True)
        self.client = MlflowClient(uri)
        experiment = self._find_experiment(uri)
        found = self.client.search_runs([experiment], f"tags.`{ID_TAG}` = '{run.id}'", max_results=1)
        if found:
            self.client.update_run(found[0].info.run_id, status="RUNNING")
        else:
            started = int(1000 * datetime.fromisoformat(run.facts["started"]).timestamp())
            found = [self.client.create_run(experiment, started, tags=_make_tags(run), run_name=run.name)]
        self.run_id = found[0].info.run_id
        if uri.startswith(("http:", "https:")):
            self._refuse_local_files(uri, found[0].info.artifact_uri)
        self._send_settings(run.settings, found[0].data.params)
        history = self.client.get_metric_history(self.run_id, EPOCH_METRIC)
        return max((metric.step for metric in history), default=0)

    def _find_experiment(self, uri: str) -> str:
        """Return the id of the experiment, which another run may be creating at the same time."""
        from mlflow.exceptions import MlflowException

        experiment = self.client.get_experiment_by_name(self.experiment_name)
        if experiment is None:
            # Beside the database; MLflow's default is a folder in the working folder.
            place = Path(uri.removeprefix(SQLITE)).parent / "mlartifacts" if uri.startswith(SQLITE) else None
            try:
                return self.client.create_experiment(self.experiment_name, place.as_uri() if place else None)
            except MlflowException:
                experiment = self.client.get_experiment_by_name(self.experiment_name)
                if experiment is None:
                    raise
        return experiment.experiment_id

    def _refuse_local_files(self, uri: str, artifact_uri: str) -> None:
        """Raise UserError if a server names a folder of this machine for the files, where they could replace others."""
        scheme = urlsplit(artifact_uri).scheme
        if scheme == "file" or len(scheme) < 2:  # a path, on Windows perhaps with a drive
            rule = f"the server wants the files of experiment {self.experiment_name} in {artifact_uri}, on this machine"
            remedy = "Choose another logger.mlflow.experiment_name, which the server creates with a place of its own."
            raise UserError("the tracker", [Problem(_hide_password(uri), rule, remedy=remedy)])

    def _send_settings(self, settings: Mapping[str, Any], known: Mapping[str, str]) -> None:
        """Send settings as parameters; a parameter is final, so that a later value becomes a tag."""
        from mlflow.entities import Param, RunTag

        new = [Param(key, str(value)) for key, value in settings.items() if key not in known]
        for first in range(0, len(new), MAX_PARAMS):
            self.client.log_batch(self.run_id, params=new[first : first + MAX_PARAMS])
        later = {key: str(value) for key, value in settings.items() if known.get(key, str(value)) != str(value)}
        if later:
            self.client.log_batch(self.run_id, tags=[RunTag(key, value) for key, value in later.items()])

    def send_epochs(self, rows: Sequence[Mapping[str, float]], times: Sequence[float]) -> None:
        from mlflow.entities import Metric

        metrics = [
            [Metric(key, value, int(1000 * time), int(row["epoch"])) for key, value in row.items() if key != "epoch"]
            for row, time in zip(rows, times, strict=True)
        ]
        for first in range(0, len(metrics), MAX_ROWS):
            batch = [metric for row in metrics[first : first + MAX_ROWS] for metric in row]
            self.client.log_batch(self.run_id, batch)

    def send_results(self, epoch: int, scores: Mapping[str, float], files: Sequence[Path]) -> None:
        from mlflow.entities import Metric

        known = self.client.get_run(self.run_id).data.metrics
        now = int(1000 * datetime.now().timestamp())
        new = [Metric(key, value, now, epoch) for key, value in scores.items() if known.get(key) != value]
        if new:
            self.client.log_batch(self.run_id, new)
        for file in files:
            self.client.log_artifact(self.run_id, str(file))

    def close(self, status: str) -> None:
        self.client.set_terminated(self.run_id, STATUSES.get(status, "KILLED"))


def _hide_password(uri: str) -> str:
    return re.sub(r"//[^/]*@", "//", uri)


def _make_tags(run: TrackedRun) -> dict[str, str]:
    """Return the tags of a new run; those that begin with mlflow are shown by MLflow's page."""
    facts = run.facts
    tags = {
        ID_TAG: run.id,
        "mlflow.source.name": facts.get("command", ""),
        "mlflow.source.type": "LOCAL",
        "mlflow.note.content": f"Run folder: {run.folder}",
        "folder": str(run.folder),
        "host": facts.get("machine", {}).get("host", ""),
        "seed": str(facts.get("seed", "")),
    }
    with contextlib.suppress(OSError, KeyError):  # a user without a name
        tags["mlflow.user"] = getpass.getuser()
    if git := facts.get("git"):
        tags["mlflow.source.git.commit"] = git["commit"]
    if run.group:
        tags["sweep"] = run.group
    return tags
