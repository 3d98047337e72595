"""Addresses of trackers that a run folder names."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from viewfinder.errors import UserError
from viewfinder.reporting.trackers.addresses import find_unknown_address, remember_address
from viewfinder.reporting.trackers.sync import sync_run
from viewfinder.runs.folder import RunFolder

NODE = {"_target_": "viewfinder.reporting.trackers.mlflow.MLflow", "tracking_uri": "http://127.0.0.1:9"}


@pytest.fixture(autouse=True)
def record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return tmp_path / "state" / "viewfinder" / "tracker_addresses.json"


def test_an_address_is_known_once_it_was_used_or_if_the_environment_names_it(
    record: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert find_unknown_address({}) is None
    assert find_unknown_address(NODE) == NODE["tracking_uri"]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", NODE["tracking_uri"])
    assert find_unknown_address(NODE) is None
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    remember_address(NODE)
    remember_address({"tracking_uri": "sqlite:///a.db"})
    assert find_unknown_address(NODE) is None
    assert json.loads(record.read_text()) == [NODE["tracking_uri"], "sqlite:///a.db"]


@pytest.mark.parametrize("content", ["", "{}", "[1]", "[" * 100_000])
def test_a_damaged_record_knows_no_address_and_is_replaced(record: Path, content: str) -> None:
    record.parent.mkdir(parents=True)
    record.write_text(content)
    assert find_unknown_address(NODE) == NODE["tracking_uri"]
    remember_address(NODE)
    assert find_unknown_address(NODE) is None


def test_a_run_from_elsewhere_is_not_sent_to_the_server_that_it_names(finished: RunFolder) -> None:
    with pytest.raises(UserError) as refused:
        sync_run(finished, "mlflow", NODE)
    (problem,) = refused.value.problems
    assert NODE["tracking_uri"] in problem.rule
    assert problem.remedy.endswith(f"logger=mlflow logger.mlflow.tracking_uri={NODE['tracking_uri']}")


class FakeClient:
    """MLflow's client of a server that stores files at an address, or creates no experiment."""

    def __init__(self, files: str = ""):
        self.files = files

    def get_experiment_by_name(self, name: str) -> Any:
        return SimpleNamespace(experiment_id="1") if self.files else None

    def create_experiment(self, *_: Any) -> None:
        from mlflow.exceptions import MlflowException

        raise MlflowException("the disk of the server is full")

    def search_runs(self, *_: Any, **__: Any) -> list[Any]:
        return [SimpleNamespace(info=SimpleNamespace(run_id="1", artifact_uri=self.files))]

    def update_run(self, *_: Any, **__: Any) -> None:
        pass


@pytest.mark.parametrize("files", ["file:///home/user/.ssh", "/home/user", "C:/Users", "FILE:/home/user"])
def test_a_server_that_names_a_folder_of_this_machine_for_the_files_gets_nothing(
    files: str, finished: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracking = pytest.importorskip("mlflow.tracking")
    run = RunFolder(shutil.copytree(finished.path, tmp_path / "run"))
    monkeypatch.setattr(tracking, "MlflowClient", lambda _: FakeClient(files))
    with pytest.raises(UserError) as refused:
        sync_run(run, "mlflow", NODE, tmp_path)
    (problem,) = refused.value.problems
    assert problem.rule.endswith(f"in {files}, on this machine")
    assert not (run.path / "sync_mlflow.json").exists()


def test_an_experiment_that_a_server_does_not_create_is_an_error_with_its_reason(
    finished: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracking = pytest.importorskip("mlflow.tracking")
    run = RunFolder(shutil.copytree(finished.path, tmp_path / "run"))
    monkeypatch.setattr(tracking, "MlflowClient", lambda _: FakeClient())
    with pytest.raises(UserError) as refused:
        sync_run(run, "mlflow", NODE, tmp_path)
    assert "the disk of the server is full" in refused.value.problems[0].rule


def test_a_run_folder_with_links_is_sent_nowhere(finished: RunFolder, tmp_path: Path) -> None:
    (tmp_path / "train.log").symlink_to("/etc/hostname")
    with pytest.raises(UserError, match="contains links"):
        sync_run(RunFolder(tmp_path), "mlflow", NODE, tmp_path)
