"""Trackers get each epoch once, and nothing they do stops a run."""

import io
import itertools
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from conftest import Train, Type
from filelock import FileLock
from torch.optim.optimizer import register_optimizer_step_post_hook
from trackers import database, hanging_server, read_epochs, read_mlflow, read_wandb, wait_for_trackers

from viewfinder.cli.main import app
from viewfinder.cli.train import main
from viewfinder.config.overrides import compose_config
from viewfinder.errors import Stopped
from viewfinder.experiment.resume import resume_experiment
from viewfinder.experiment.run import run_experiment
from viewfinder.reporting.trackers import follow
from viewfinder.reporting.trackers.follow import Follower
from viewfinder.reporting.trackers.process import start_trackers
from viewfinder.reporting.trackers.sender import Sender
from viewfinder.runs.folder import RunFolder
from viewfinder.sweeps.executors.local import run_in_subprocess

INSTALLED = [name for name in ("mlflow", "wandb") if find_spec(name)]
FILES = {"config.yaml", "scores.json", "report.html", "curves.png", "confusion.png", "mistakes.png"}


@pytest.fixture
def trackers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Overrides for the trackers that are installed: MLflow in a database and W&B in files, both in tmp_path."""
    if not INSTALLED:
        pytest.skip("neither mlflow nor wandb is installed")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path / "wandb_data"))
    monkeypatch.setenv("WANDB_CACHE_DIR", str(tmp_path / "wandb_cache"))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "wandb_config"))
    return [f"logger=[tensorboard,{','.join(INSTALLED)}]", *([database(tmp_path)] if "mlflow" in INSTALLED else [])]


def assert_mirrored(run: RunFolder, tmp_path: Path) -> None:
    """Check that each tracker has each epoch of a finished run once, its settings, scores and files."""
    if "mlflow" in INSTALLED:
        assert_in_mlflow(run, tmp_path)
    if "wandb" in INSTALLED:
        assert_in_wandb(run)


def assert_in_mlflow(run: RunFolder, tmp_path: Path) -> None:
    (copy,) = read_mlflow(tmp_path)
    epochs, scores = read_epochs(run), run.read_scores()["best"]
    assert (copy["status"], copy["name"]) == ("FINISHED", "/".join(run.path.parts[-2:]))
    assert copy["curves"]["val/loss"] == epochs
    assert copy["curves"]["best/test_accuracy"] == [(scores["epoch"], scores["test"]["accuracy"])]
    assert {key: copy["params"][key] for key in ("optimizer", "seed", "model")} == {
        "optimizer": "Adam", "seed": "42", "model": "SimpleCNN",
    }  # fmt: skip
    assert not any(key.startswith(("logger", "output_dir")) for key in copy["params"])
    assert copy["files"] == {name for name in FILES if (run.path / name).is_file()}


def assert_in_wandb(run: RunFolder) -> None:
    epochs, scores, offline = read_epochs(run), run.read_scores()["best"], read_wandb(run.path)
    assert (offline["id"], offline["exit"]) == (run.read_run()["tracking_id"], 0)
    assert [(row["epoch"], row["val/loss"]) for row in offline["rows"] if "val/loss" in row] == epochs
    assert offline["config"]["optimizer.lr"] == 0.001
    assert offline["summary"]["best/test_accuracy"] == scores["test"]["accuracy"]
    assert offline["files"] == {name for name in FILES if (run.path / name).is_file()}


@pytest.mark.slow
def test_a_run_stopped_twice_has_each_epoch_once_in_each_tracker(
    small: Callable[..., list[str]], trackers: list[str], at_step: Any, tmp_path: Path, whole: RunFolder
) -> None:
    typed = small(tmp_path / "in" / "run", *trackers)
    at_step(10, lambda: os.kill(os.getpid(), signal.SIGTERM))
    at_step(19, lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(Stopped):
        run_experiment(compose_config(typed), overrides=typed)
    run = RunFolder.open(tmp_path / "in" / "run")
    with pytest.raises(Stopped):
        resume_experiment(run)
    resume_experiment(run)
    wait_for_trackers()
    assert_mirrored(run, tmp_path)
    for name in ("metrics.csv", "predictions.csv", "scores.json"):
        assert (run.path / name).read_bytes() == (whole.path / name).read_bytes()


def type_and_die(task: tuple[list[str], int, str, dict[str, str]]) -> None:
    """Run a command in a working folder and an environment; kill this process after an optimizer step."""
    command, last_step, folder, variables = task
    os.chdir(folder)
    os.environ.update(variables)
    sys.argv, steps = command, itertools.count(1)
    register_optimizer_step_post_hook(
        lambda *_: os.kill(os.getpid(), signal.SIGKILL) if next(steps) == last_step else None
    )
    main() if command[0] == "train.py" else app()


@pytest.mark.slow
def test_a_run_killed_twice_has_each_epoch_once_in_each_tracker(
    small: Callable[..., list[str]], trackers: list[str], tmp_path: Path
) -> None:
    run = RunFolder(tmp_path / "in" / "run")
    resume = ["viewfinder", "resume", str(run.path)]
    for command, step in ((["train.py", *small(run.path, *trackers)], 12), (resume, 9), (resume, 99)):
        run_in_subprocess(type_and_die, [(command, step, str(tmp_path), dict(os.environ))])
    assert len(run.read_run()["resumed"]) == 2
    for name in INSTALLED:
        FileLock(run.path / f".sync_{name}.lock").acquire(60)
    assert_mirrored(run, tmp_path)


@pytest.mark.slow
def test_a_server_that_hangs_stops_no_run_and_is_named_once(
    train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("mlflow")
    plain = train(tmp_path / "plain", "logger=none")
    with hanging_server() as address:
        run = train(tmp_path / "run", "logger=mlflow", f"logger.mlflow.tracking_uri={address}")
        said = capsys.readouterr().out.splitlines()
    assert run.read_run()["status"] == "finished"
    assert sum(line.startswith("mlflow") for line in said) == 1
    assert f"viewfinder sync {run.path}" in " ".join(said)
    for name in ("metrics.csv", "predictions.csv", "scores.json"):
        assert (run.path / name).read_bytes() == (plain.path / name).read_bytes()
    wait_for_trackers()
    assert not (run.path / "sync_mlflow.json").exists()


@pytest.mark.parametrize("logger", ["none", "csv"])
def test_without_tensorboard_the_run_has_all_other_files(
    logger: str, train: Train, finished: RunFolder, tmp_path: Path
) -> None:
    run = train(tmp_path / "run", f"logger={logger}", "augment=basic", "trainer.max_epochs=3")
    names = {path.name for path in finished.path.iterdir() if "tfevents" not in path.name}
    assert {path.name for path in run.path.iterdir()} == {name for name in names if "projector" not in name}
    assert run.metrics.read_bytes() == finished.metrics.read_bytes()


def test_a_rank_that_writes_nothing_reads_no_file_of_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "any")
    run = RunFolder(tmp_path / "not-created-yet")
    assert not run.is_writer
    with start_trackers(run, {"logger": {"mlflow": {"_target_": "viewfinder.reporting.trackers.mlflow.MLflow"}}}):
        pass
    assert not run.path.exists()


def test_runs_without_a_tracker_are_sent_later_and_once(run_copy: RunFolder, viewfinder: Type, tmp_path: Path) -> None:
    pytest.importorskip("mlflow")
    typed = ["sync", run_copy.path, "logger=mlflow", database(tmp_path)]
    assert "sent" in viewfinder(*typed).out
    (first,) = read_mlflow(tmp_path)
    assert first["curves"]["val/loss"] == read_epochs(run_copy)
    assert first["status"] == "FINISHED"
    assert "up to date" in viewfinder(*typed).out
    (run_copy.path / "sync_mlflow.json").unlink()
    assert "sent" in viewfinder(*typed).out
    (second,) = read_mlflow(tmp_path)
    assert second["curves"] == first["curves"]


def test_sync_names_what_it_leaves_out_and_a_tracker_that_does_not_answer(
    run_copy: RunFolder, viewfinder: Type, tmp_path: Path
) -> None:
    left_out = viewfinder("sync", run_copy.path)
    assert (left_out.code, "it has no tracker" in left_out.out) == (2, True)
    wrong = viewfinder("sync", run_copy.path, "logger=tensorboard")
    assert (wrong.code, "chooses no tracker" in wrong.err) == (2, True)
    pytest.importorskip("mlflow")
    shutil.copytree(run_copy.path, tmp_path / "another")
    failed = viewfinder("sync", tmp_path, "logger=mlflow", "logger.mlflow.tracking_uri=http://127.0.0.1:9")
    assert failed.code == 2
    assert failed.err.count("did not get it: ConnectionRefusedError") == 1  # the other run is not tried
    assert "Traceback" not in failed.err
    (line,) = failed.out.splitlines()
    assert line.startswith("mlflow   left out ")
    assert line.endswith(": http://127.0.0.1:9, experiment viewfinder has not answered")


def test_a_run_that_a_tracker_refuses_keeps_no_other_run_from_it(
    run_copy: RunFolder, viewfinder: Type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("mlflow")
    shutil.copytree(run_copy.path, tmp_path / "another")
    send = Sender.send

    def refuse_first(sender: Sender, status: str | None = None) -> None:
        if sender.folder.path.name == "another":
            raise ValueError("a value that it does not like")
        send(sender, status)

    monkeypatch.setattr(Sender, "send", refuse_first)
    answer = viewfinder("sync", tmp_path / "another", run_copy.path, "logger=mlflow", database(tmp_path))
    assert (answer.code, answer.err.count("a value that it does not like")) == (2, 1)
    assert "sent" in answer.out


def test_wandb_that_is_switched_off_gets_nothing_and_is_not_recorded_as_complete(
    run_copy: RunFolder, viewfinder: Type, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "disabled")
    answer = viewfinder("sync", run_copy.path, "logger=wandb")
    assert (answer.code, "is switched off by WANDB_MODE=disabled" in answer.err) == (2, True)
    assert not (run_copy.path / "sync_wandb.json").exists()


def test_each_outage_of_a_tracker_is_said_once_and_its_end_too(
    finished: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = [None, OSError("one"), OSError("two"), None, None, OSError("three"), None]
    output = io.StringIO()

    class Answering:
        folder, place, last_epoch = finished, "the server", None

        def send(self, status: str | None) -> None:
            answer, self.last_epoch = answers.pop(0), 1
            if len(answers) == 1:
                follower.ended.set()
            if answer:
                self.last_epoch = None
                raise answer

    monkeypatch.setattr(Follower, "_wait_for_end", lambda _: None)
    monkeypatch.setattr(follow, "POLL_SECONDS", 0)
    monkeypatch.setattr(follow, "RETRY_SECONDS", 0)
    follower = Follower(Answering(), 0, output)  # type: ignore[arg-type]
    assert follower.run()
    assert output.getvalue().splitlines() == [
        "to the server", "nothing arrives at the server: OSError: one",
        "to the server", "nothing arrives at the server: OSError: three",
        "to the server",
    ]  # fmt: skip


def test_a_run_of_a_machine_with_a_tracker_is_scored_and_resumed_without_it(
    train: Train, viewfinder: Type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = train(tmp_path / "run", "logger=none")
    text = run.config.read_text().replace(
        "logger: {}", "logger:\n  mlflow:\n    _target_: viewfinder.reporting.trackers.mlflow.MLflow"
    )
    run.config.write_text(text)
    monkeypatch.setattr("viewfinder.reporting.trackers.tracker.find_spec", lambda _: None)
    assert viewfinder("evaluate", run.path).code == 0


@pytest.mark.slow
def test_settings_changed_on_resume_and_a_status_reach_mlflow(train: Train, tmp_path: Path) -> None:
    pytest.importorskip("mlflow")
    run = train(tmp_path / "run", "logger=mlflow", database(tmp_path), "trainer.max_epochs=1")
    wait_for_trackers()
    resume_experiment(run, ["trainer.max_epochs=2"])
    wait_for_trackers()
    (copy,) = read_mlflow(tmp_path)
    assert copy["curves"]["val/loss"] == read_epochs(run)
    assert (copy["params"]["trainer.max_epochs"], copy["tags"]["trainer.max_epochs"]) == ("1", "2")
    assert json.loads((run.path / "sync_mlflow.json").read_text())["epochs"] == 2
