"""Sweeps: what a line stands for, what is done once, what fails alone, and what is asked before anything changes."""

import contextlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from conftest import ROOT, Answer, paint
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper

from viewfinder.cli.train import main
from viewfinder.config.overrides import compose_config, parse_overrides
from viewfinder.errors import UserError
from viewfinder.runs.find import find_runs
from viewfinder.runs.folder import RunFolder
from viewfinder.sweeps.changes import other_values, pair
from viewfinder.sweeps.folder import SweepFolder, SweepJob
from viewfinder.sweeps.plan import plan
from viewfinder.sweeps.reconcile import merge

SMALL = ["model=mlp", "model.widths=[8]", "sweep.name=lr"]
AT_ONCE = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
Sweep = Callable[..., Answer]


@pytest.fixture
def sweep(tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Sweep:
    """`python train.py -m` in this process, of a tiny training into tmp_path/lr."""

    def type_it(*words: str) -> Answer:
        argv = ["train.py", "-m", *tiny, *SMALL, f"output_dir={tmp_path}", *words]
        monkeypatch.setattr(sys, "argv", argv)
        monkeypatch.setattr(sys, "orig_argv", ["python", *argv])
        monkeypatch.setattr(sys, "path", list(sys.path))
        monkeypatch.setenv("OMP_NUM_THREADS", "1")
        capfd.readouterr()
        with pytest.raises(SystemExit) as end:
            main()
        out, err = capfd.readouterr()
        assert isinstance(end.value.code, int)
        assert "Traceback" not in out + err
        return Answer(end.value.code, out, err)

    return type_it


def bits(run: Path) -> dict[str, bytes]:
    """What must not depend on what happened to a run."""
    return {name: (run / name).read_bytes() for name in ("metrics.csv", "scores.json", "predictions.csv")}


def ended(folder: Path) -> dict[str, Any]:
    """When each run of a sweep was scored: it changes where one is run again."""
    return {file.parent.name: file.stat().st_mtime_ns for file in folder.glob("*/scores.json")}


@contextlib.contextmanager
def when(is_so: Callable[[], bool], do: Callable[[], object]) -> Iterator[None]:
    """Within this block, and while it lasts, wait for something and then do something."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.01):
            if is_so():
                do()
                return

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


# What a line stands for


@pytest.mark.parametrize(
    "line",
    [
        ["seed=1,2", "optimizer.lr=1e-3,3e-3"],
        ["model=mlp,simple_cnn", "optimizer=adam,sgd", "seed=range(1,4)"],
        ["experiment=quickstart", "model.widths=[4],[4,8]", "+optimizer.amsgrad=true,false", "data.batch_size=8"],
        [
            "optimizer.lr=choice(1e-3,2e-3)",
            "~optimizer.fused",
            "seed=sort(3,1,2)",
            "name=a,b",
            "optimizer.lr=5e-3,6e-3",
        ],
        ["experiment=quickstart,simple_cnn", "trainer.max_epochs=1,2"],
        ["model=mlp", "seed=7"],
    ],
)
def test_a_line_stands_for_the_jobs_that_hydras_own_multirun_makes_of_it(line: list[str]) -> None:
    parsed = parse_overrides(line)
    (expected,) = BasicSweeper.split_arguments(parsed, None)
    jobs = plan(parsed).jobs
    assert [job.overrides for job in jobs] == expected
    assert [job.config for job in jobs] == [compose_config(words) for words in expected]


def test_a_glob_takes_the_choices_of_a_group_and_a_job_that_is_typed_twice_runs_once() -> None:
    planned = plan(parse_overrides(["optimizer=glob(ad*)", "seed=1,2,1"]))
    names = [job.config["optimizer"]["_target_"] for job in planned.jobs]
    assert names == ["torch.optim.Adam"] * 2 + ["torch.optim.AdamW"] * 2
    assert planned.repeated == 2


@pytest.mark.parametrize(
    ("word", "answer"),
    [
        ("seed=range(0,100000)", "100,000 jobs"),
        ("seed=range(5,5)", "no value"),
        ("model=glob(x*)", "no value"),
        ("optimizer.lr=interval(1e-4,1e-1)", "viewfinder search"),
        ("run_dir=here", "output_dir=PATH"),
        ("sweep.name=a,b", "one value"),
        ("sweep.name=../a", "below output_dir"),
        ("output_dir=a,b", "one value"),
        ("sweep.max_failures=0", "sweep.max_failures"),
        ("sweep.rerun=perhaps", "true or false"),
        ("hydra.launcher.n_jobs=2", "hydra/launcher=joblib"),
        ("hydra/launcher=nosuch", "Choices: basic, joblib"),
        ("optimizer.lrr=1,2", "Did you mean optimizer.lr?"),
        ("optimizer.lr=choice()", "cannot be parsed"),
        ("trainer.devices=2", "a single process"),
    ],
)
def test_a_line_that_cannot_be_a_sweep_is_answered_before_anything_is_made(
    word: str, answer: str, sweep: Sweep, tmp_path: Path
) -> None:
    said = sweep("seed=1,2", word)
    assert said.code == 2
    assert answer in said.err
    assert said.out == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("word", ["sweep.name=lr", "seed=1,2", "optimizer.lr=interval(0,1)"])
def test_what_belongs_to_a_sweep_is_not_taken_for_a_run(word: str) -> None:
    script = [sys.executable, str(ROOT / "train.py"), "trainer=debug", word]
    done = subprocess.run(script, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Add -m" in done.stderr


# What makes two jobs the same


def planned(*words: str) -> Any:
    return plan(parse_overrides(["trainer=cpu", *words]))


def known(*words: str) -> list[SweepJob]:
    return [SweepJob(str(n), job.overrides, job.config) for n, job in enumerate(planned(*words).jobs)]


def test_a_job_is_known_by_what_can_change_a_score() -> None:
    jobs = known("optimizer.lr=1e-3,3e-3", "seed=1,2")
    moved = ["output_dir=elsewhere", "trainer.progress_bar=false", "trainer.checkpoint_every=5", "data.root=there"]
    again = planned("seed=2,3", "optimizer.lr=3e-3,1e-3", *moved)
    assert [job and job.folder for job in pair(again.jobs, jobs)] == ["3", "1", None, None]
    assert other_values(again.jobs, jobs) == []


def test_what_is_swept_tells_jobs_apart_even_where_it_cannot_change_a_score() -> None:
    jobs = known("trainer.keep_freed_memory=true,false")
    assert [job and job.folder for job in pair(planned("trainer.keep_freed_memory=false,true").jobs, jobs)] == [
        "1",
        "0",
    ]


def test_of_jobs_that_differ_in_the_place_of_their_pictures_each_is_known_by_its_own() -> None:
    jobs = known("data.root=here,there")
    assert [job and job.folder for job in pair(planned("data.root=there").jobs, jobs)] == ["1"]
    assert [job and job.folder for job in pair(planned("data.root=there,here").jobs, jobs)] == ["1", "0"]
    moved = known("data.root=here", "seed=1,2")
    assert [job and job.folder for job in pair(planned("data.root=elsewhere", "seed=1,2").jobs, moved)] == ["0", "1"]


def test_another_fixed_value_is_named_and_more_or_fewer_values_are_not() -> None:
    jobs = known("optimizer.lr=1e-3,3e-3", "seed=1,2")
    for line in ("optimizer.lr=1e-3,1e-2 seed=1,2,3", "optimizer.lr=3e-3 seed=1", "optimizer.lr=1e-2 seed=7"):
        assert other_values(planned(*line.split()).jobs, jobs) == []
    one = planned("optimizer.lr=1e-3", "seed=1,2", "data.batch_size=64", "trainer.max_epochs=3").jobs
    assert other_values(one, jobs) == ["data.batch_size was 32, is 64", "trainer.max_epochs was 10, is 3"]


def test_a_job_that_left_its_sweep_comes_back_and_is_not_among_the_runs_meanwhile(tmp_path: Path) -> None:
    folder = SweepFolder(tmp_path, "lr")
    first = [job.folder for job in merge(folder, planned("seed=1,2"))]
    other = [job.folder for job in merge(folder, planned("seed=1,2", "data.batch_size=64", "sweep.rerun=true"))]
    assert (first, other) == (["0", "1"], ["2", "3"])
    folder.write()
    for name in "0123":
        (tmp_path / name).mkdir()
        (tmp_path / name / "run.json").write_text("{}")
    assert [run.path.name for run in find_runs(tmp_path)] == ["2", "3"]
    for name in "0123":
        shutil.rmtree(tmp_path / name)
    again = SweepFolder(tmp_path, "lr")
    again.read()
    assert [job.folder for job in again.jobs] == ["2", "3"]
    with pytest.raises(UserError, match=r"data\.batch_size was 64, is 32"):
        merge(again, planned("seed=1,2"))
    assert [job.folder for job in merge(again, planned("seed=1,2", "sweep.rerun=true"))] == ["0", "1"]
    assert [job.folder for job in again.earlier] == ["2", "3"]


# What runs, and what does not run again


def test_two_of_six_jobs_fail_and_four_do_not_and_the_same_line_runs_those_two_again(
    sweep: Sweep, tmp_path: Path
) -> None:
    line = ["optimizer=sgd", "optimizer.lr=0.1,0.2,0.3,0.4,word,1e30", "data.batch_size=16", *AT_ONCE]
    said = sweep(*line)
    assert said.code == 2
    table = pd.read_csv(tmp_path / "lr" / "jobs.csv")
    assert table["status"].tolist() == ["finished"] * 4 + ["failed"] * 2
    assert table["optimizer.lr"].tolist() == ["0.1", "0.2", "0.3", "0.4", "word", "1e+30"]
    reasons = table["reason"].tolist()[4:]
    assert "must be a number" in reasons[0]
    assert "is nan at step" in reasons[1]
    for number, reason in zip((4, 5), reasons, strict=True):
        assert f"  job {number}: {reason}" in said.out.splitlines()
        assert RunFolder(tmp_path / "lr" / str(number)).read_run()["error"] == reason
    scored = [RunFolder(tmp_path / "lr" / str(n)).read_scores()["best"] for n in range(4)]
    assert table["test"].tolist()[:4] == pytest.approx([best["test"]["accuracy"] for best in scored])
    before = ended(tmp_path / "lr")
    again = sweep(*line)
    assert again.code == 2
    assert "6 jobs: 4 finished, 2 failed" in again.out
    assert "job 4 cannot begin: optimizer.lr" in again.out
    assert "(1 of 1)" in again.out
    assert ended(tmp_path / "lr") == before


def test_after_so_many_failures_no_other_job_begins(sweep: Sweep, tmp_path: Path) -> None:
    said = sweep("optimizer.lr=word,other,0.1,0.2", "sweep.max_failures=2")
    assert said.code == 2
    assert pd.read_csv(tmp_path / "lr" / "jobs.csv")["status"].tolist() == ["failed", "failed", "waiting", "waiting"]
    assert "sweep.max_failures" in said.out


def test_a_job_that_dies_hard_ends_itself_alone_and_says_how(sweep: Sweep, tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "lr" / "0")
    with when(run.data.exists, lambda: os.kill(json.loads(run.run.read_text())["process"], signal.SIGKILL)):
        said = sweep("seed=1,2", "trainer.max_epochs=40")
    assert said.code == 2
    table = pd.read_csv(tmp_path / "lr" / "jobs.csv")
    assert table["status"].tolist() == ["failed", "finished"]
    assert "SIGKILL" in table["reason"][0]
    before = ended(tmp_path / "lr")
    assert sweep("seed=1,2", "trainer.max_epochs=40").code == 0
    after = ended(tmp_path / "lr")
    assert after["1"] == before["1"]
    assert sweep("seed=1", "trainer.max_epochs=40", "sweep.name=whole").code == 0
    assert bits(tmp_path / "lr" / "0") == bits(tmp_path / "whole" / "0")


def test_ctrl_c_ends_all_jobs_prints_the_table_and_the_same_line_goes_on(sweep: Sweep, tmp_path: Path) -> None:
    # A network whose configuration holds a list, and may name weights: it is built again without.
    line = ["seed=1,2,3", "trainer.max_epochs=40", *AT_ONCE]

    both = [RunFolder(tmp_path / "lr" / name).last for name in "01"]
    with when(lambda: all(each.exists() for each in both), lambda: os.kill(os.getpid(), signal.SIGINT)):
        said = sweep(*line)
    assert said.code == 130
    assert "To go on: python train.py -m " in said.out
    statuses = pd.read_csv(tmp_path / "lr" / "jobs.csv")["status"].tolist()
    assert statuses[:2] == ["interrupted"] * 2
    assert statuses[2] == "waiting"
    assert sweep(*line).code == 0
    assert sweep("seed=2", "trainer.max_epochs=40", "sweep.name=whole").code == 0
    assert bits(tmp_path / "lr" / "1") == bits(tmp_path / "whole" / "0")


def test_a_signal_reaches_a_job_that_has_only_just_begun(sweep: Sweep, tmp_path: Path) -> None:
    begun = time.monotonic()
    plan_is_there = (tmp_path / "lr" / "sweep.json").exists
    with when(plan_is_there, lambda: (time.sleep(0.05), os.kill(os.getpid(), signal.SIGINT))):
        said = sweep("seed=1", "trainer.max_epochs=100000")
    assert said.code == 130, time.monotonic() - begun
    assert "To go on: " in said.out


def test_a_job_whose_scores_are_lost_runs_again_in_a_folder_of_its_own(sweep: Sweep, tmp_path: Path) -> None:
    assert sweep("seed=1").code == 0
    first = RunFolder(tmp_path / "lr" / "0")
    kept = bits(first.path)
    first.scores.write_text("{}")
    assert "\n0_2            waiting" in sweep("seed=1", "sweep.dry_run=true").out
    assert sweep("seed=1", "sweep.rerun=false").code == 0
    assert bits(tmp_path / "lr" / "0_2") == kept
    assert first.scores.read_text() == "{}"


def test_a_dry_run_lists_the_jobs_tells_their_cost_and_makes_nothing(sweep: Sweep, tmp_path: Path) -> None:
    said = sweep("seed=1,2", "optimizer.lr=0.1,word", "sweep.dry_run=true")
    assert said.code == 0
    assert said.out.count(" waiting") == 4
    assert said.out.count("cannot begin: optimizer.lr") == 2
    assert list(tmp_path.iterdir()) == []
    assert sweep("seed=1").code == 0
    run = RunFolder(tmp_path / "lr" / "0")
    run.update_run(epoch_seconds=[1800.0, 5400.0])
    before = sorted(tmp_path.rglob("*"))
    said = sweep("seed=1,2,3", "sweep.dry_run=true", *AT_ONCE)
    assert "3 jobs: 1 finished, 2 waiting" in said.out
    # Two jobs of two epochs, of an hour each by the mean of the one that is done.
    assert "some 4.0 hours one by one" in said.out
    assert "some 2.0 hours with 2 at once" in said.out
    assert sorted(tmp_path.rglob("*")) == before


# What is asked


def test_other_code_is_asked_about_and_only_what_it_made_is_run_again(
    sweep: Sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own" / "conf" / "model").mkdir(parents=True)
    network = tmp_path / "own" / "own_network.py"
    network.write_text("from viewfinder.models.mlp import MLP\n\n\nclass Own(MLP):\n    pass\n", encoding="utf-8")
    (tmp_path / "own" / "conf" / "model" / "own.yaml").write_text(
        "_target_: own_network.Own\nwidths: [8]\nimage_size: 8\n", encoding="utf-8"
    )
    monkeypatch.chdir(tmp_path / "own")
    line = ["model=own"]
    first = sweep(*line, "seed=1")
    assert first.code == 0, first.err
    network.write_text(network.read_text() + "\n# another\n", encoding="utf-8")
    said = sweep(*line, "seed=1,2")
    assert said.code == 2
    assert "1 job of this line began before a change of: the code of own_network" in said.err
    assert not (tmp_path / "lr" / "1").exists()
    assert sweep(*line, "seed=1,2", "sweep.rerun=false").code == 0
    assert sorted(ended(tmp_path / "lr")) == ["0", "1"]
    before = ended(tmp_path / "lr")
    assert sweep(*line, "seed=1,2", "sweep.rerun=true").code == 0
    after = ended(tmp_path / "lr")
    assert sorted(after) == ["0", "0_2", "1"]
    assert {name: after[name] for name in before} == before
    assert [run.path.name for run in find_runs(tmp_path / "lr")] == ["1", "0_2"]


def test_other_pictures_are_asked_about(sweep: Sweep, tmp_path: Path) -> None:
    root = paint(tmp_path / "in", seed=3)
    line = [f"data.root={root}", "seed=1,2"]
    assert sweep(*line).code == 0
    shutil.copy(next((root / "val").rglob("00.png")), next((root / "val").rglob("01.png")))
    said = sweep(*line)
    assert said.code == 2
    assert "2 jobs of this line began before a change of: the pictures (val)" in said.err
    shutil.rmtree(root)
    said = sweep(*line)
    assert said.code == 2
    assert "does not exist" in said.err
    assert sweep(*line, "sweep.rerun=false").code == 0


# What stands in the way


def test_a_second_process_does_not_touch_a_sweep_that_runs(sweep: Sweep, tmp_path: Path) -> None:
    folder = SweepFolder(tmp_path / "lr", "lr")
    with folder.taken():
        folder.write()
        said = sweep("seed=1,2")
        assert said.code == 2
        assert f"is run by process {os.getpid()} on " in said.err
        assert [path.name for path in (tmp_path / "lr").iterdir() if path.name != ".lock"] == ["sweep.json"]


@pytest.mark.parametrize("name", ["0", "0.log", ".lock"])
def test_a_link_in_a_strangers_sweep_leads_nowhere(name: str, sweep: Sweep, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    (tmp_path / "lr").mkdir()
    (tmp_path / "lr" / "sweep.json").write_text("{}")
    (tmp_path / "lr" / name).symlink_to(victim)
    said = sweep("seed=1,2", *AT_ONCE)
    assert said.code == 2
    assert f"links, and a run folder has none: {name}" in said.err
    assert list(victim.iterdir()) == []


def test_a_folder_of_something_else_is_left_alone(sweep: Sweep, tmp_path: Path) -> None:
    (tmp_path / "lr").mkdir()
    (tmp_path / "lr" / "thesis.txt").write_text("mine")
    said = sweep("seed=1,2")
    assert said.code == 2
    assert "something else than a sweep" in said.err
    assert [path.name for path in (tmp_path / "lr").iterdir()] == ["thesis.txt"]


def test_a_disk_that_takes_no_plan_is_one_error(sweep: Sweep, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    said = sweep("seed=1,2", f"output_dir={tmp_path / 'file'}")
    assert said.code == 2
    assert said.err.startswith("One problem with the disk")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        said = sweep("seed=1,2")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    assert said.code == 2
    assert said.err.startswith("One problem with the disk")
    assert sweep("seed=1").code == 0


def test_a_sweep_whose_parent_is_killed_ends_as_one_that_was_left_alone() -> None:
    script = [
        sys.executable,
        str(ROOT / "tests" / "stress" / "sweep_crashes.py"),
        "--jobs",
        "2",
        "--kills",
        "1",
        "--seed",
        "1",
    ]
    line = ["model=mlp", "model.widths=[8]", "data=digits", "trainer.precision=32-true", "trainer.max_epochs=40"]
    done = subprocess.run([*script, *line], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 of 2 jobs finished after 1 of 1 kills, 0 of them twice; 0 differences" in done.stdout
