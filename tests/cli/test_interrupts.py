"""Ctrl-C ends every command with one line and exit code 130."""

import signal
from pathlib import Path

import pytest
from conftest import Type

from viewfinder.evaluation import comparison
from viewfinder.evaluation.prediction_file import PredictionFile
from viewfinder.experiment import build, load
from viewfinder.runs.folder import RunFolder


def interrupt_twice(*_: object, **__: object) -> None:
    """Send Ctrl-C as a terminal and a launcher do, each once."""
    try:
        signal.raise_signal(signal.SIGINT)
    finally:
        signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize(
    ("words", "module", "function"),
    [
        (["evaluate"], load, "build_classifier"),
        (["predict"], load, "load_weights"),
        (["export", "--format", "torch"], load, "summarise_network"),
        (["compare"], comparison, "name_images"),
        (["resume", "trainer.max_epochs=9"], build, "make_data"),
    ],
)
def test_ctrl_c_before_anything_is_done_ends_a_command_with_one_line(
    run_copy: RunFolder, viewfinder: Type, monkeypatch: pytest.MonkeyPatch, words: list[str], module: object,
    function: str,
) -> None:  # fmt: skip
    monkeypatch.setattr(module, function, interrupt_twice)
    before = run_copy.run.read_bytes()
    photo = [str(run_copy.curves)] if words == ["predict"] else []
    answer = viewfinder(words[0], run_copy.path, *words[1:], *photo)
    assert answer == (130, "", "Stopped\n")
    assert run_copy.run.read_bytes() == before


def test_ctrl_c_while_a_network_is_built_ends_training_with_one_line(
    tiny: list[str], viewfinder: Type, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(build, "build_network", interrupt_twice)
    assert viewfinder("train", *tiny, f"run_dir={tmp_path / 'run'}") == (130, "", "Stopped\n")
    assert not (tmp_path / "run").exists()


def test_ctrl_c_while_rows_are_written_ends_predict_with_its_own_line(
    finished: RunFolder, viewfinder: Type, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(PredictionFile, "append", interrupt_twice)
    answer = viewfinder("predict", finished.path, finished.curves, "--csv", tmp_path / "rows.csv")
    assert answer == (130, "", "stopped after 0 of 1 images; the same command continues\n")


def test_an_ignored_ctrl_c_stays_ignored(
    finished: RunFolder, viewfinder: Type, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_runs = comparison.read_runs

    def interrupt_and_read(*arguments: object) -> object:
        signal.raise_signal(signal.SIGINT)
        return read_runs(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(comparison, "read_runs", interrupt_and_read)
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        assert viewfinder("compare", finished.path).code == 0
    finally:
        signal.signal(signal.SIGINT, previous)
