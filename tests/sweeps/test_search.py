"""The space of a search, how it goes on after kills, signals and failures, and what it says at the end."""

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import Type
from omegaconf import OmegaConf
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from viewfinder.config.hydra_internals import parse_override
from viewfinder.config.overrides import compose_config
from viewfinder.errors import Pruned, Stopped, UserError
from viewfinder.experiment.resume import resume_experiment
from viewfinder.experiment.run import run_experiment
from viewfinder.reporting.charts.search import Axis, draw_search
from viewfinder.runs.folder import RunFolder
from viewfinder.sweeps.search.space import check_corners, read_typed
from viewfinder.sweeps.search.study import Search, SearchFolder, TrialState

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = Path(sys.executable).with_name("viewfinder")


def problems_of(*typed: str) -> dict[str, str]:
    with pytest.raises(UserError) as refused:
        check_corners(read_typed(list(typed)), lambda _: None)
    return {each.key: f"{each.rule} {each.remedy}" for each in refused.value.problems}


# The space


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("optimizer.lr=interval(1e-3,5e-2)", FloatDistribution(1e-3, 5e-2)),
        ("optimizer.lr=interval(1e-4,1e-2)", FloatDistribution(1e-4, 1e-2, log=True)),
        ("optimizer.lr=tag(linear, interval(1e-4,1e-1))", FloatDistribution(1e-4, 1e-1)),
        ("optimizer.lr=tag(log, interval(1e-3,5e-2))", FloatDistribution(1e-3, 5e-2, log=True)),
        ("optimizer.weight_decay=interval(0,1)", FloatDistribution(0, 1)),
        ("data.batch_size=interval(8,64)", IntDistribution(8, 64)),
        ("data.batch_size=interval(8,1024)", IntDistribution(8, 1024, log=True)),
        ("data.batch_size=range(8,33,8)", IntDistribution(8, 32, step=8)),
        ("loss.label_smoothing=range(0.5,0,-0.1)", FloatDistribution(0.1, 0.5, step=0.1)),
        ("optimizer=adam,sgd", CategoricalDistribution(["adam", "sgd"])),
        ("optimizer.betas=choice([0.9,0.99],[0.8,0.9])", CategoricalDistribution(["[0.9,0.99]", "[0.8,0.9]"])),
    ],
)
def test_a_space_is_what_hydras_grammar_says(typed: str, expected: Any) -> None:
    (parameter,) = read_typed([typed]).space.values()
    assert parameter.distribution == expected


def test_a_range_has_the_values_that_a_sweep_of_it_has() -> None:
    typed = "loss.label_smoothing=range(0,0.5,0.1)"
    swept = parse_override(typed)
    (parameter,) = read_typed([typed]).space.values()
    grid = [parameter.word(0.1 * step) for step in range(5)]
    assert grid == [f"loss.label_smoothing={value}" for value in swept.sweep_string_iterator()]
    assert [float(word.partition("=")[2]) for word in grid] == [0, 0.1, 0.2, 0.3, 0.4]


def test_all_that_cannot_be_searched_is_named_at_once() -> None:
    found = problems_of(
        "optimizer.lr=interval(1,0)", "optimizer.weight_decay=tag(log,interval(0,1))", "optimizer.eps=glob(*)",
        "data.batch_size=interval(1.5,3)", "model.width=range(3,4)", "trainer.max_epochs=tag(x,choice(1,2))",
    )  # fmt: skip
    rules = {
        "optimizer.lr": "smaller one first", "optimizer.weight_decay": "above 0", "optimizer.eps": "cannot be searched",
        "data.batch_size": "whole number", "model.width": "one value", "trainer.max_epochs": "tag",
    }  # fmt: skip
    assert list(found) == list(rules)
    assert all(rule in found[key] for key, rule in rules.items())
    assert list(problems_of("seed=1,2", "name=a,b", "run_dir=x", "optimizer.lr=1,2", "optimizer.lr=3")) == [
        "run_dir", "optimizer.lr", "seed", "name"
    ]  # fmt: skip
    assert "interval" in problems_of("seed=1")["the space"]


def test_a_key_that_one_of_the_choices_lacks_is_refused_with_that_choice() -> None:
    (said,) = problems_of("optimizer=adam,sgd", "optimizer.betas=[0.9,0.99],[0.8,0.9]").values()
    assert "unknown key" in said
    assert "optimizer=sgd" in said


# Its folder


def test_another_space_or_fixed_value_under_the_same_name_is_refused(tmp_path: Path) -> None:
    folder = SearchFolder(tmp_path / "one")
    folder.begin(read_typed(["optimizer.lr=interval(1e-4,1e-1)", "optimizer=adam,sgd", "trainer.max_epochs=3"]))
    folder.begin(read_typed(["trainer.max_epochs=3", "optimizer=adam,sgd", "optimizer.lr=interval(0.0001,0.1)"]))
    with pytest.raises(UserError) as refused:
        folder.begin(read_typed(["optimizer.lr=interval(1e-3,1e-1)", "trainer.max_epochs=4", "model.width=1,2"]))
    found = {each.key: (each.rule, each.received) for each in refused.value.problems}
    assert list(found) == ["optimizer.lr", "optimizer", "model.width", "trainer.max_epochs"]
    assert "0.0001 to 0.1, log" in found["optimizer.lr"][0]
    assert found["optimizer.lr"][1] == "0.001 to 0.1, log"
    assert found["trainer.max_epochs"] == ("was 3 when this search was begun", "4")
    (tmp_path / "two").mkdir()
    (tmp_path / "two" / "notes.txt").touch()
    with pytest.raises(UserError, match="no search"):
        SearchFolder(tmp_path / "two").begin(read_typed(["model.width=1,2"]))


def test_two_processes_never_have_one_trial_and_a_dead_ones_is_taken_with_its_values(tmp_path: Path) -> None:
    folder, typed = SearchFolder(tmp_path / "a b?c#d%20"), read_typed(["optimizer.lr=interval(1e-4,1e-1)"])
    folder.begin(typed)
    one, two = (Search(folder, typed.space) for _ in range(2))  # each has locks of its own, as a process has
    first, second = next(one.take(3)), next(two.take(3))
    assert (first.number, second.number) == (0, 1)
    assert first.values != second.values
    one.held.pop(0).release()  # as the system does when a process dies
    again = next(two.take(3))
    assert again == first._replace(is_begun=True)
    third = next(two.take(3))
    assert (third.number, third.is_begun) == (2, False)
    assert [each.state for each in one.trials()] == [TrialState.RUNNING] * 3


def test_searches_that_are_killed_end_with_just_their_trials() -> None:
    script = [sys.executable, str(ROOT / "tests" / "stress" / "search_check.py"), "storage", "--count", "2"]
    done = subprocess.run(script, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


# Its runs


def test_a_run_that_is_given_up_says_when_and_is_left_out_of_comparisons(
    tiny: list[str], finished: RunFolder, tmp_path: Path, viewfinder: Type
) -> None:
    run = RunFolder(tmp_path / "run")
    cfg = compose_config([*tiny, "trainer.max_epochs=3"])
    with pytest.raises(Pruned):
        run_experiment(cfg, run.path, after_epoch=lambda rows: len(rows) == 2)
    facts = run.read_run()
    assert (facts["status"], facts["error"]) == ("pruned", "pruned after epoch 2 of 3")
    assert list(run.read_metrics()["epoch"]) == [1, 2]
    assert not run.scores.exists()
    answer = viewfinder("compare", run.path, finished.path)
    assert f"left out: {run.path}: pruned after epoch 2 of 3" in answer.out
    run_experiment(cfg, tmp_path / "late", after_epoch=lambda rows: len(rows) == 3)  # when nothing is saved by it
    assert RunFolder.open(tmp_path / "late").status == "finished"


def test_an_epoch_that_a_kill_kept_from_being_reported_is_reported_when_the_run_goes_on(
    tiny: list[str], tmp_path: Path
) -> None:
    seen: list[list[int]] = []

    def report(rows: Sequence[Mapping[str, Any]]) -> bool:
        seen.append([row["epoch"] for row in rows])
        return False

    def die_at(epoch: int, rows: Sequence[Mapping[str, Any]]) -> bool:
        if len(rows) == epoch:
            raise Stopped(signal.SIGTERM)
        return False

    run = RunFolder(tmp_path / "run")
    with pytest.raises(Stopped):
        run_experiment(compose_config([*tiny, "trainer.max_epochs=3"]), run.path, after_epoch=lambda r: die_at(1, r))
    with pytest.raises(Stopped):
        resume_experiment(run, after_epoch=lambda rows: report(rows) or die_at(3, rows))
    resume_experiment(run, after_epoch=report)
    assert seen == [[1], [1, 2], [1, 2, 3], [1, 2, 3]]
    assert run.status == "finished"


# The command


def begin(tiny: list[str], folder: Path, *words: str) -> subprocess.Popen[str]:
    typed = ["model=mlp", "model.widths=[8]", *tiny, f"output_dir={folder}", "--name", "found", *words]
    return subprocess.Popen(
        [SCRIPT, "search", *typed], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, bufsize=1
    )


def until(process: subprocess.Popen[str], pattern: str) -> str:
    """What a process says up to a line."""
    assert process.stdout is not None
    said = ""
    for line in process.stdout:
        said += line
        if re.search(pattern, line):
            return said
    raise AssertionError(said)


def test_a_search_goes_on_after_ctrl_c_a_refused_loss_and_a_killed_trial(tiny: list[str], tmp_path: Path) -> None:
    # A rate of 1e30 makes the loss no number; with this seed the second of four trials has it.
    words = ["optimizer.lr=choice(1e-2,1e30)", "optimizer=adam,sgd", "--sampler", "random", "--trials", "4"]
    words += ["trainer.max_epochs=15", "seed=4"]
    process = begin(tiny, tmp_path, *words)
    said = until(process, "^epoch")
    process.send_signal(signal.SIGINT)
    rest, errors = process.communicate()
    said += rest
    assert (process.returncode, "Traceback" in errors) == (130, False)
    number = re.findall(r"^trial (\d+):", said, flags=re.M)[-1]
    assert re.search(rf"^ +{number} .*interrupted", said, flags=re.M)
    assert "go on    viewfinder search" in said
    stopped = RunFolder.open(tmp_path / "found" / number)
    assert stopped.status == "interrupted"

    process = begin(tiny, tmp_path, *words)
    said = until(process, rf"^trial {number} goes on")
    said += until(process, rf"^trial {number} complete")
    said += until(process, "^epoch")
    killed = re.findall(r"^trial (\d+):", said, flags=re.M)[-1]
    os.kill(RunFolder.open(tmp_path / "found" / killed).read_run()["process"], signal.SIGKILL)
    rest, errors = process.communicate()
    assert process.returncode == 0
    assert "optuna" not in errors.lower()
    runs = {path.parent.name: RunFolder(path.parent) for path in (tmp_path / "found").glob("*/run.json")}
    assert sorted(runs) == ["0", "1", "2", "3"]
    facts = {name: run.read_run() for name, run in runs.items()}
    assert len(facts[number]["resumed"]) == 1
    assert facts[killed]["error"] == "its process died of SIGKILL, perhaps since memory was full"
    assert [facts[name]["status"] for name in sorted(facts)] == ["finished", "failed", "failed", "finished"]
    statuses = {"finished": "complete"}
    for name, each in facts.items():
        (row,) = re.findall(rf"^ +{name}  .*$", rest, flags=re.M)
        assert f" {statuses.get(each['status'], each['status'])} " in row
        if "1e+30" in row:
            assert "train/loss" in each["error"]
            assert f"trial {name} failed: {each['error']}" in rest
    completes = [name for name, each in facts.items() if each["status"] == "finished"]
    scores = {name: runs[name].read_scores()["best"] for name in completes}
    best = max(completes, key=lambda name: scores[name]["val"]["accuracy"])
    (line,) = re.findall(r"^best .*$", rest, flags=re.M)
    assert f"val accuracy {scores[best]['val']['accuracy']:.4f}" in line
    assert f"test accuracy {scores[line.split()[2].rstrip(':')]['test']['accuracy']:.4f}" in line
    assert (tmp_path / "found" / "search.png").is_file()
    (repeat,) = re.findall(r"^repeat   (.*)$", rest, flags=re.M)
    again = compose_config(shlex.split(repeat)[2:])
    assert OmegaConf.to_container(again) == runs[line.split()[2].rstrip(":")].read_settings()


def test_a_search_without_optuna_says_what_to_install(viewfinder: Type, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    answer = viewfinder("search", "optimizer=adam,sgd")
    assert answer.code == 2
    assert "pip install 'viewfinder[search]'" in answer.err


def test_a_search_whose_every_trial_would_be_refused_is_refused_before_anything_is_there(
    tiny: list[str], tmp_path: Path, viewfinder: Type
) -> None:
    answer = viewfinder("search", *tiny, "model.width=choice(4,few)", f"output_dir={tmp_path}", "--name", "found")
    assert answer.code == 2
    assert "model.width=few" in answer.err
    assert list(tmp_path.iterdir()) == []


def test_the_chart_shows_the_best_so_far_and_each_numeric_parameter() -> None:
    table = pd.DataFrame({
        "trial": [3, 0, 1, 2], "status": ["complete", "complete", "pruned", "complete"],
        "accuracy": [0.8, 0.5, 0.9, 0.4], "optimizer.lr": [0.1, 0.01, 0.001, 0.02],
    })  # fmt: skip
    trials, rates = draw_search(table, {"optimizer.lr": Axis(1e-3, 1e-1, "log")}).axes
    (line,) = trials.get_lines()
    np.testing.assert_allclose(line.get_xydata(), [[0, 0.5], [2, 0.5], [3, 0.8]])
    assert rates.get_xscale() == "log"
    pruned, complete = (np.asarray(points.get_offsets()) for points in rates.collections)
    np.testing.assert_allclose(pruned, [[0.001, 0.9]])
    np.testing.assert_allclose(complete, [[0.01, 0.5], [0.02, 0.4], [0.1, 0.8]])
