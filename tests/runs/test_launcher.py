"""Launchers: trainer.devices alone decides whether a run is distributed."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, Train, assert_same_run, train_into
from new_process import run_forked
from ranks import srun_variables

from viewfinder.errors import UserError
from viewfinder.runs.folder import RunFolder
from viewfinder.runs.launcher import LAUNCHER_VARIABLES, PROCESS_VARIABLE, Place, is_helper, read_place

TASKS = {
    "srun -n 4": srun_variables(2, 4, 1),
    "srun -N 2 -n 4": srun_variables(3, 4, 1)
    | {"SLURM_STEP_NUM_NODES": "2", "SLURM_LOCALID": "1", "SLURM_NODEID": "1"},
    "left over": {"RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "4", "MASTER_ADDR": "nowhere", "MASTER_PORT": "1"},
    "torchrun": {"TORCHELASTIC_RUN_ID": "none", "RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2"},
    "jsrun": {
        "LSB_JOBID": "12", "LSB_DJOB_RANKFILE": "/nowhere", "JSM_NAMESPACE_RANK": "1", "JSM_NAMESPACE_SIZE": "2",
        "JSM_NAMESPACE_LOCAL_RANK": "1",
    },
    "mpirun": {"OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_SIZE": "4", "PMI_RANK": "1", "PMI_SIZE": "4"},
}  # fmt: skip
CHILD = (
    "from viewfinder.runs.launcher import ignore_other_launchers as start; start(); print('ready', flush=True); input()"
)
FIRST = """
import os, subprocess, sys

os.environ.update({sys.argv[1]: str(os.getpid()), 'LOCAL_RANK': '1'})
subprocess.run([sys.executable, '-c', sys.argv[2]])
"""


@pytest.mark.parametrize("name", TASKS)
def test_a_task_of_a_launcher_is_a_run_of_its_own(
    name: str, train: Train, finished: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable, value in TASKS[name].items():
        monkeypatch.setenv(variable, value)
    run = train(tmp_path / "run", "augment=basic", "trainer.max_epochs=3")
    assert_same_run(run, finished)
    assert {variable: os.environ[variable] for variable in TASKS[name]} == TASKS[name]
    assert not {*LAUNCHER_VARIABLES, PROCESS_VARIABLE}.difference(TASKS[name]).intersection(os.environ)


@pytest.mark.parametrize(
    ("name", "more", "words", "problems"),
    [
        ("srun -n 4", {}, ["trainer.devices=2"],
         [("trainer.devices", "must be the number of processes that srun has started, 4")]),
        ("srun -N 2 -n 4", {}, ["trainer.devices=4"], [
            ("trainer.devices", "must be the number of processes that srun has started on each node, 2"),
            ("trainer.num_nodes", "must be the number of nodes on which srun has started processes, 2"),
        ]),
        ("mpirun", {}, ["trainer.devices=2"],
         [("trainer.devices", "starts its own processes, but mpirun has already started 4")]),
        ("torchrun", {"WORLD_SIZE": "4"}, ["trainer.devices=2"],
         [("trainer.devices", "must be the number of processes that torchrun has started, 4")]),
        ("torchrun", {}, ["trainer.num_nodes=2"], [
            ("trainer.devices", "must be the number of processes that torchrun has started, 2"),
            ("trainer.num_nodes", "must be the number of nodes on which torchrun has started processes, 1"),
        ]),
        ("left over", {}, ["trainer.num_nodes=2"], [("trainer.num_nodes", "needs a launcher on each node")]),
    ],
)  # fmt: skip
def test_other_numbers_than_those_of_the_launcher_are_refused(
    name: str, more: dict[str, str], words: list[str], problems: list[tuple[str, str]], tiny: list[str], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    for variable, value in (TASKS[name] | more).items():
        monkeypatch.setenv(variable, value)
    with pytest.raises(UserError) as refused:
        train_into(tmp_path / "run", *tiny, *words)
    assert [(problem.key, problem.rule) for problem in refused.value.problems] == problems
    assert not (tmp_path / "run").exists()


def test_a_task_of_srun_knows_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, value in TASKS["srun -N 2 -n 4"].items():
        monkeypatch.setenv(variable, value)
    assert read_place() == Place("srun", rank=3, world_size=4, local_rank=1, local_size=2, node=1)
    assert is_helper()
    monkeypatch.setenv("SLURM_PROCID", "one")  # left over
    assert read_place() is None
    assert not is_helper()


def test_a_process_that_lightning_starts_is_a_helper(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert not is_helper()
    monkeypatch.setenv(PROCESS_VARIABLE, str(os.getppid()))
    assert is_helper()
    monkeypatch.setenv("LOCAL_RANK", "0")
    assert not is_helper()


@pytest.mark.slow
def test_a_program_may_train_several_distributed_runs_one_after_another(tmp_path: Path) -> None:
    settings = ["data=digits", "model=mlp", "model.widths=[4]", "trainer=debug", "trainer.devices=2"]
    script = f"""
import viewfinder

for name, rate in (("one", "1e-2"), ("two", "1e-3")):
    viewfinder.train(*{settings!r}, f"optimizer.lr={{rate}}", f"run_dir={tmp_path}/{{name}}")
"""
    (tmp_path / "program.py").write_text(script)
    variables = {"LOCAL_RANK": "3", "MASTER_ADDR": "nowhere.invalid", "MASTER_PORT": "1"}
    completed = run_forked([tmp_path / "program.py"], tmp_path, variables)
    assert completed.returncode == 0, completed.stderr
    for name, rate in (("one", 1e-2), ("two", 1e-3)):
        run = RunFolder.open(tmp_path / name)
        assert (run.status, run.read_settings()["optimizer"]["lr"]) == ("finished", rate)


def test_a_rank_that_is_no_number_and_a_machine_with_srun_change_nothing(tmp_path: Path) -> None:
    srun = tmp_path / "bin" / "srun"
    srun.parent.mkdir()
    srun.touch(mode=0o755)
    path = f"{srun.parent}{os.pathsep}{os.environ['PATH']}"
    words = ["data=digits", "model=mlp", "model.widths=[4]", "trainer=debug", f"run_dir={tmp_path / 'run'}"]
    completed = run_forked([ROOT / "train.py", *words], tmp_path, {"RANK": "abc", "SLURM_PROCID": "one", "PATH": path})
    assert (completed.returncode, completed.stderr) == (0, "")
    assert RunFolder.open(tmp_path / "run").status == "finished"


@pytest.mark.skipif(sys.platform == "win32", reason="the parent of a process stays the same")
def test_a_helper_ends_when_the_first_process_is_killed() -> None:
    command = [sys.executable, "-c", FIRST, PROCESS_VARIABLE, CHILD]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "ready\n"
        first.send_signal(signal.SIGKILL)
        assert first.stdout.read() == ""  # ends when the helper, which shares the pipe, ends
