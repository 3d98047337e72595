"""Searches: their folder, shared trials, pruned runs, and the command from start to end."""

import itertools
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from conftest import ROOT, Type, on_one_line, raises_user_error
from fake_executor import FakeExecutor
from new_process import run_forked
from omegaconf import OmegaConf
from optuna.trial import TrialState
from sweep_command import act_when

from viewfinder.config.overrides import compose_config
from viewfinder.errors import FAILED, Pruned, Stopped, UserError
from viewfinder.experiment.resume import resume_experiment
from viewfinder.experiment.run import run_experiment
from viewfinder.runs.folder import RunFolder
from viewfinder.sweeps.queue import CANCEL_FILE
from viewfinder.sweeps.search.command import Request
from viewfinder.sweeps.search.folder import SearchFolder
from viewfinder.sweeps.search.space import parse_search_spec
from viewfinder.sweeps.search.study import Outcome, Search
from viewfinder.sweeps.search.summary import SearchCommand
from viewfinder.sweeps.search.workers import queue_search

SCRIPT = Path(sys.executable).with_name("viewfinder")


def test_a_different_space_or_fixed_value_under_the_same_name_is_refused(tmp_path: Path) -> None:
    rate, optimizer, epochs = "optimizer.lr=interval(1e-4,1e-1)", "optimizer=adam,sgd", "trainer.max_epochs=3"
    folder = SearchFolder(tmp_path / "one")
    folder.create_or_continue(parse_search_spec([rate, optimizer, epochs]))
    folder.create_or_continue(parse_search_spec([epochs, optimizer, "optimizer.lr=interval(0.0001,0.1)"]))
    other = parse_search_spec(["optimizer.lr=interval(1e-3,1e-1)", "trainer.max_epochs=4", "model.width=1,2"])
    with pytest.raises(UserError) as error:
        folder.create_or_continue(other)
    problems = {problem.key: (problem.rule, problem.received) for problem in error.value.problems}
    assert list(problems) == ["optimizer.lr", "optimizer", "model.width", "trainer.max_epochs"]
    assert "0.0001 to 0.1, log" in problems["optimizer.lr"][0]
    assert problems["optimizer.lr"][1] == "0.001 to 0.1, log"
    assert problems["trainer.max_epochs"] == ("was 3 when this search started", "4")
    (tmp_path / "two").mkdir()
    (tmp_path / "two" / "notes.txt").touch()
    with raises_user_error("not a search"):
        SearchFolder(tmp_path / "two").create_or_continue(parse_search_spec(["model.width=1,2"]))


def test_a_search_of_an_earlier_version_continues(tmp_path: Path) -> None:
    spec = parse_search_spec(["data.batch_size=interval(8,64)", "model=mlp", f"output_dir={tmp_path}"])
    folder = SearchFolder(tmp_path / "one")
    folder.create_or_continue(spec)
    stored = {
        "typed": ["data.batch_size=interval(8,64)", "model=mlp", "output_dir=elsewhere"],
        "space": {"data.batch_size": "8 to 64, whole numbers"},
        "fixed": {"model": "mlp"},
    }
    assert json.loads(folder.spec.read_text()) == stored | {"typed": spec.overrides}
    folder.spec.write_text(json.dumps(stored))
    folder.create_or_continue(spec)
    assert json.loads(folder.spec.read_text()) == stored


def test_processes_claim_different_trials_and_a_dead_ones_trial_keeps_its_values(tmp_path: Path) -> None:
    folder, spec = SearchFolder(tmp_path / "a b?c#d%20"), parse_search_spec(["optimizer.lr=interval(1e-4,1e-1)"])
    folder.create_or_continue(spec)
    one, two = (Search(folder, spec.space) for _ in range(2))  # with separate locks, like two processes
    first, second = next(one.claim_trials(3)), next(two.claim_trials(3))
    assert (first.number, second.number) == (0, 1)
    assert first.values != second.values
    one.claims.pop(0).release()  # as the operating system does when a process dies
    again = next(two.claim_trials(3))
    assert again == first._replace(is_resumed=True)
    third = next(two.claim_trials(3))
    assert (third.number, third.is_resumed) == (2, False)
    assert [trial.state for trial in one.trials()] == [TrialState.RUNNING] * 3


def test_workers_on_several_machines_share_a_search_in_optunas_journal(
    tmp_path: Path, finished: RunFolder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = parse_search_spec(["optimizer.lr=interval(1e-4,1e-1)", "model=mlp", f"output_dir={tmp_path}"])
    folder, launcher = SearchFolder(tmp_path / "one"), {"_target_": "viewfinder.sweeps.executors.fake.Fake"}
    folder.create_or_continue(spec, is_shared=True)
    assert not folder.database.exists()
    request = Request(list(spec.overrides), "one", 3, "random", False)
    command = SearchCommand(list(spec.overrides), "one", "random", False, workers=2)
    executor = FakeExecutor(finished)
    executor.on_poll = lambda: None
    monkeypatch.setattr("viewfinder.sweeps.search.workers.open_executor", lambda *_: executor)

    def type_command(is_waiting: bool) -> int:
        return queue_search(request, folder, spec, launcher, command, is_waiting)

    assert type_command(False) == 0
    assert executor.submissions == [["0", "1"]]
    assert [task.search for task in executor.tasks.values()] == [request._asdict()] * 2
    monkeypatch.setattr("viewfinder.sweeps.queue.open_executor", lambda *_: executor)
    with raises_user_error("2 jobs with another launcher.*viewfinder cancel"):
        queue_search(request, folder, spec, {"_target_": "viewfinder.sweeps.executors.other.Other"}, command, False)
    one, two = (Search(folder, spec.space, "random") for _ in range(2))  # as of two workers

    def work() -> None:
        first, second = next(one.claim_trials(3)), next(two.claim_trials(3))
        third = next(two.claim_trials(3))
        for worker, trial in ((one, first), (two, second), (two, third)):
            shutil.copytree(finished.path, folder.trial_folder(trial.number))
            worker.release_trial(trial, Outcome(TrialState.COMPLETE, 0.5 + trial.number / 10))
        executor.lose_all()

    polls = iter([lambda: None, work])
    executor.on_poll = lambda: next(polls, lambda: None)()
    capsys.readouterr()
    assert type_command(True) == 0
    printed = capsys.readouterr().out
    assert "2 jobs submitted before, left alone" in printed
    assert "trial 2 complete, val accuracy 0.7000" in printed
    assert "--workers 2" in printed
    assert len(executor.submissions) == 1
    assert folder.chart.is_file()
    page = folder.page.read_text(encoding="utf-8")
    assert "<b>70.00</b>highest validation accuracy" in page
    assert "--workers 2" in page
    other = SearchFolder(tmp_path / "two")
    other.create_or_continue(spec)
    with raises_user_error("started for one machine"):
        other.create_or_continue(spec, is_shared=True)


class SharedSearch(NamedTuple):
    """A search whose workers are with a scheduler."""

    folder: SearchFolder
    executor: FakeExecutor
    worker: Search
    """as in one of its workers"""
    type_command: Callable[[int, int, bool], int]
    """maps trials, workers and whether it waits to the exit code of the command"""


@pytest.fixture
def shared_search(tmp_path: Path, finished: RunFolder, monkeypatch: pytest.MonkeyPatch) -> SharedSearch:
    spec = parse_search_spec(["optimizer.lr=interval(1e-4,1e-1)", "model=mlp", f"output_dir={tmp_path}"])
    folder, launcher = SearchFolder(tmp_path / "one"), {"_target_": "viewfinder.sweeps.executors.fake.Fake"}
    folder.create_or_continue(spec, is_shared=True)
    executor = FakeExecutor(finished)
    monkeypatch.setattr("viewfinder.sweeps.search.workers.open_executor", lambda *_: executor)

    def type_command(trials: int, workers: int, is_waiting: bool) -> int:
        request = Request(list(spec.overrides), "one", trials, "random", False)
        command = SearchCommand(list(spec.overrides), "one", "random", False, workers=workers)
        return queue_search(request, folder, spec, launcher, command, is_waiting)

    return SharedSearch(folder, executor, Search(folder, spec.space, "random"), type_command)


def test_workers_for_which_a_scheduler_has_no_room_are_named(
    shared_search: SharedSearch, capsys: pytest.CaptureFixture[str]
) -> None:
    shared_search.executor.capacity = 1
    assert shared_search.type_command(3, 3, False) == 0
    assert shared_search.executor.submissions == [["0"]]
    assert "2 jobs not submitted, for lack of room" in capsys.readouterr().out


@pytest.mark.parametrize("is_cancelled", [False, True])
def test_workers_that_are_lost_before_the_last_trial_are_submitted_again_unless_cancelled(
    is_cancelled: bool, shared_search: SharedSearch, finished: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, executor, worker, type_command = shared_search

    def work_and_lose() -> None:
        if len(executor.submissions) == 2:
            for trial in [*itertools.islice(worker.claim_trials(2), 2)]:
                shutil.copytree(finished.path, folder.trial_folder(trial.number))
                worker.release_trial(trial, Outcome(TrialState.COMPLETE, 0.5))
        if is_cancelled:
            (folder.path / CANCEL_FILE).touch()
        executor.lose_all()

    executor.on_poll = work_and_lose
    code = type_command(2, 2, True)
    assert (code, executor.submissions) == ((FAILED, [["0", "1"]]) if is_cancelled else (0, [["0", "1"], ["0", "1"]]))
    assert ("2 trials missing" in capsys.readouterr().out) is not is_cancelled


def test_a_lock_that_another_process_keeps_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("viewfinder.sweeps.search.folder.LOCK_TIMEOUT", 0.1)
    folder, spec = SearchFolder(tmp_path / "search"), parse_search_spec(["optimizer.lr=interval(1e-4,1e-1)"])
    with folder.lock("study"), raises_user_error("is locked by another process of this search"):
        folder.create_or_continue(spec)
    assert f"to release {folder.locks / 'study'}" in capsys.readouterr().err
    folder.create_or_continue(spec)


@pytest.mark.slow
def test_killed_searches_end_with_exactly_their_trials(tmp_path: Path) -> None:
    completed = run_forked([ROOT / "tests" / "stress" / "search_check.py", "storage", "--count", "2"], tmp_path)
    assert completed.returncode == 0, completed.stdout + completed.stderr


def test_a_pruned_run_records_its_epoch_and_is_left_out_of_comparisons(
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
    run_experiment(cfg, tmp_path / "late", after_epoch=lambda rows: len(rows) == 3)  # pruning would save nothing
    assert RunFolder.open(tmp_path / "late").status == "finished"


def test_an_epoch_left_unreported_by_a_kill_is_reported_when_the_run_resumes(tiny: list[str], tmp_path: Path) -> None:
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


def type_search(tiny: list[str], folder: Path, *words: str) -> list[str]:
    return ["model=mlp", "model.widths=[8]", *tiny, f"output_dir={folder}", "--name", "found", *words]


def read_until(process: subprocess.Popen[str], pattern: str) -> str:
    """Return the output of a process up to and including a matching line."""
    assert process.stdout is not None
    output = ""
    for line in process.stdout:
        output += line
        if re.search(pattern, line):
            return output
    raise AssertionError(output)


@pytest.mark.slow
def test_a_search_continues_after_ctrl_c_a_diverged_loss_and_a_killed_trial(
    tiny: list[str], tmp_path: Path, viewfinder: Type
) -> None:
    # A learning rate of 1e30 makes the loss NaN; with this seed, the second of four trials has it.
    words = ["optimizer.lr=choice(1e-2,1e30)", "optimizer=adam,sgd", "--sampler", "random", "--trials", "4"]
    words += ["trainer.max_epochs=15", "seed=4"]
    command = [SCRIPT, "search", *type_search(tiny, tmp_path, *words)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, bufsize=1)
    output = read_until(process, "^epoch")
    process.send_signal(signal.SIGINT)
    rest, errors = process.communicate()
    output += rest
    assert (process.returncode, "Traceback" in errors) == (130, False)
    number = re.findall(r"^trial (\d+):", output, flags=re.M)[-1]
    assert re.search(rf"^ +{number} .*interrupted", output, flags=re.M)
    assert "continue viewfinder search" in output
    stopped = RunFolder.open(tmp_path / "found" / number)
    assert stopped.status == "interrupted"

    def list_later() -> list[RunFolder]:
        return [
            RunFolder(path.parent) for path in (tmp_path / "found").glob("*/metrics.csv") if path.parent.name != number
        ]

    killed: list[str] = []

    def kill_a_later_trial() -> None:
        (run,) = list_later()
        killed.append(run.path.name)
        os.kill(run.read_run()["process"], signal.SIGKILL)

    with act_when(lambda: bool(list_later()), kill_a_later_trial):
        answer = viewfinder("search", *type_search(tiny, tmp_path, *words))
    rest = answer.out
    assert re.search(rf"^trial {number} resumes(.|\n)*^trial {number} complete", rest, flags=re.M)
    assert answer.code == 0
    assert "optuna" not in answer.err.lower()
    runs = {path.parent.name: RunFolder(path.parent) for path in (tmp_path / "found").glob("*/run.json")}
    assert sorted(runs) == ["0", "1", "2", "3"]
    facts = {name: run.read_run() for name, run in runs.items()}
    assert len(facts[number]["resumed"]) == 1
    assert facts[killed[0]]["error"] == "its process was killed by SIGKILL, possibly because memory was full"
    assert [facts[name]["status"] for name in sorted(facts)] == ["finished", "failed", "failed", "finished"]
    statuses = {"finished": "complete"}
    for name, fact in facts.items():
        (row,) = re.findall(rf"^ +{name}  .*$", rest, flags=re.M)
        assert f" {statuses.get(fact['status'], fact['status'])} " in row
        if "1e+30" in row:
            assert "train/loss" in fact["error"]
            assert f"trial {name} failed: {fact['error']}" in rest
    completes = [name for name, fact in facts.items() if fact["status"] == "finished"]
    scores = {name: runs[name].read_scores()["best"] for name in completes}
    best = max(completes, key=lambda name: scores[name]["val"]["accuracy"])
    (line,) = re.findall(r"^best .*$", rest, flags=re.M)
    assert f"val accuracy {scores[best]['val']['accuracy']:.4f}" in line
    assert f"test accuracy {scores[line.split()[2].rstrip(':')]['test']['accuracy']:.4f}" in line
    assert (tmp_path / "found" / "search.png").is_file()
    (repeat,) = re.findall(r"^repeat   (.*)$", rest, flags=re.M)
    repeated = compose_config(shlex.split(repeat)[2:])
    assert OmegaConf.to_container(repeated) == runs[line.split()[2].rstrip(":")].read_settings()


def test_without_optuna_a_search_names_the_package_to_install(
    viewfinder: Type, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    answer = viewfinder("search", "optimizer=adam,sgd")
    assert answer.code == 2
    assert 'pip install "viewfinder[search]"' in on_one_line(answer.err)


@pytest.mark.parametrize("options", [["--workers", "2"], ["--no-wait"]])
def test_options_for_jobs_of_a_scheduler_need_one(options: list[str], viewfinder: Type) -> None:
    answer = viewfinder("search", "optimizer=adam,sgd", *options)
    assert answer.code == 2
    assert options[0] in answer.err
    assert "needs the launcher of a scheduler" in on_one_line(answer.err)


def test_a_search_with_invalid_trials_is_refused_before_any_file_is_created(
    tiny: list[str], tmp_path: Path, viewfinder: Type
) -> None:
    answer = viewfinder("search", *tiny, "model.width=choice(4,few)", f"output_dir={tmp_path}", "--name", "found")
    assert answer.code == 2
    assert "model.width=few" in answer.err
    assert list(tmp_path.iterdir()) == []
