"""`viewfinder status` and `viewfinder cancel` of a sweep on SLURM, on this machine, and of none."""

import json
import os
import platform
import shutil
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from conftest import Type, on_one_line
from fake_slurm import FakeSlurm
from filelock import FileLock
from sweep_command import sweep_jobs

from viewfinder.runs.atomic import write_json
from viewfinder.runs.folder import RunFolder
from viewfinder.runs.naming import SWEEP_FILE
from viewfinder.sweeps.executors.protocol import Batch, QueuedJob
from viewfinder.sweeps.folder import SweepFolder
from viewfinder.sweeps.queue_file import QueueFile
from viewfinder.sweeps.status import format_time, read_status

SLURM = {"_target_": "viewfinder.sweeps.executors.submitit_slurm.SubmititSlurm", "partition": "gpu"}
NOW = datetime.now().astimezone()


@pytest.fixture
def sweep(finished: RunFolder, tmp_path: Path) -> SweepFolder:
    """A sweep of four jobs: one finished, one in its second epoch, one that waits for SLURM, one not submitted."""
    sweep = SweepFolder(tmp_path / "lr", "lr", jobs=sweep_jobs("model=mlp", "data=digits", "seed=1,2,3,4"))
    for name in "01":
        shutil.copytree(finished.path, sweep.path / name)
    sweep.write()
    facts = RunFolder(sweep.path / "1").read_run()
    facts |= {"status": "running", "epoch_seconds": [60.0], "started": NOW.isoformat(timespec="seconds")}
    del facts["ended"]
    (sweep.path / "1" / "run.json").write_text(json.dumps(facts))
    return sweep


@pytest.fixture
def slurm(sweep: SweepFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSlurm:
    """SLURM, to which three jobs of the sweep were submitted."""
    (tmp_path / "bin").mkdir()
    slurm = FakeSlurm(tmp_path / "bin")
    monkeypatch.setenv("PATH", slurm.path)
    jobs = [QueuedJob(str(number), 1, f"41_{number}") for number in range(3)]
    QueueFile(sweep.path, SLURM, "00c0ffee", [Batch("lr-00c0ffee-0", NOW.isoformat(), jobs)]).write()
    time = f"{NOW:%Y-%m-%dT%H:%M:%S}"
    rows = [f"41_1|RUNNING|node7|{time}|{time}|None|lr-00c0ffee-0"]
    rows += [f"41_2|PENDING||{time}|N/A|Priority|lr-00c0ffee-0"]
    slurm.answer("squeue", "\n".join(rows))
    return slurm


def read_table(text: str) -> dict[str, list[str]]:
    """Return the words of each row of the printed table by its first."""
    rows = [line.split() for line in text.splitlines()[3:]]
    return {row[0]: row[1:] for row in rows}


def test_status_says_where_each_job_is_how_far_and_when_it_should_end(
    sweep: SweepFolder, slurm: FakeSlurm, viewfinder: Type
) -> None:
    with FileLock(sweep.path / "1" / ".lock"):
        answer = viewfinder("status", sweep.path)
        job = read_status(sweep.path).jobs[1]
    assert answer.code == 0
    assert answer.out.splitlines()[0].endswith("4 jobs: 1 finished, 1 running, 1 queued, 1 waiting")
    table = read_table(answer.out)
    assert table["0"][:2] == ["finished", platform.node()]
    assert "3/10" in table["0"]
    assert table["1"][:5] == ["running", "node7", "41_1", f"{NOW:%H:%M}", "1/10"]
    written = datetime.fromtimestamp((sweep.path / "1" / "run.json").stat().st_mtime).astimezone()
    assert job.end == written + timedelta(minutes=9)
    assert table["2"] == ["queued", "41_2", f"{NOW:%H:%M}", "Priority;", "seed=3"]
    assert table["3"] == ["waiting", "seed=4"]


def test_a_run_that_no_process_writes_to_and_no_scheduler_has_is_killed(
    sweep: SweepFolder, slurm: FakeSlurm, viewfinder: Type
) -> None:
    slurm.answer("squeue", "")
    table = read_table(viewfinder("status", sweep.path).out)
    assert [row[0] for row in table.values()] == ["finished", "killed", "waiting", "waiting"]
    assert not read_status(sweep.path).is_active
    assert viewfinder("status", sweep.path, "--watch").code == 0


def test_status_shows_the_run_folders_where_the_scheduler_does_not_answer(
    sweep: SweepFolder, slurm: FakeSlurm, viewfinder: Type
) -> None:
    slurm.answer("squeue", err="Unable to contact slurm controller\n", code=1)
    lines = viewfinder("status", sweep.path).out.splitlines()
    assert "squeue: fails: Unable to contact slurm controller" in lines[1]
    assert [line.split()[1] for line in lines[4:]] == ["finished", "killed", "waiting", "waiting"]


def test_status_fits_a_terminal_of_80_columns(
    sweep: SweepFolder, slurm: FakeSlurm, viewfinder: Type, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("viewfinder.reporting.tables.UNLIMITED_WIDTH", 80)
    lines = viewfinder("status", sweep.path).out.splitlines()[2:]
    assert max(map(len, lines)) <= 80
    assert any("seed=3" in line for line in lines)


def test_cancel_cancels_what_runs_or_waits_and_nothing_else(
    sweep: SweepFolder, slurm: FakeSlurm, viewfinder: Type
) -> None:
    assert "cancelled 2 jobs" in viewfinder("cancel", sweep.path).out
    assert slurm.calls("scancel") == ["41_1 41_2"]
    slurm.answer("squeue", "")
    assert "no job of this sweep runs or waits" in viewfinder("cancel", sweep.path).out


def test_cancel_signals_the_process_of_a_local_sweep(
    sweep: SweepFolder, viewfinder: Type, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = []
    monkeypatch.setattr(os, "kill", lambda *arguments: sent.append(arguments))
    assert "no job" in viewfinder("cancel", sweep.path).out
    with FileLock(sweep.path / ".lock"):
        assert f"run by process {os.getpid()} on {platform.node()}" in viewfinder("status", sweep.path).out
        assert "SIGTERM" in viewfinder("cancel", sweep.path).out
    assert [process for process, _ in sent] == [os.getpid()]


def test_cancel_signals_no_process_that_does_not_hold_the_sweeps_lock(
    sweep: SweepFolder, viewfinder: Type, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "kill", lambda *arguments: pytest.fail(f"sent {arguments}"))
    content = json.loads((sweep.path / SWEEP_FILE).read_text())
    write_json(sweep.path / SWEEP_FILE, content | {"process": os.getppid()})
    with FileLock(sweep.path / ".lock"):
        answer = viewfinder("cancel", sweep.path)
    assert answer.code == 2
    assert "is run by another process than sweep.json says" in on_one_line(answer.err)


@pytest.mark.parametrize("verb", ["status", "cancel"])
def test_a_folder_that_is_no_sweep_and_a_scheduler_that_is_none_are_errors(
    verb: str, sweep: SweepFolder, finished: RunFolder, viewfinder: Type
) -> None:
    assert "is not a sweep" in on_one_line(viewfinder(verb, finished.path).err)
    assert "does not exist" in on_one_line(viewfinder(verb, sweep.path / "nosuch").err)
    QueueFile(sweep.path, {"_target_": "os.system"}, batches=[Batch("x", "", [QueuedJob("1", 1, "1")])]).write()
    answer = viewfinder(verb, sweep.path)
    assert answer.code == 2
    assert "is not an executor of Viewfinder" in on_one_line(answer.err)


def test_cancel_signals_no_group_of_processes_that_a_hostile_file_names(
    sweep: SweepFolder, viewfinder: Type, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "kill", lambda *_: pytest.fail("a signal was sent"))
    file = sweep.path / "sweep.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"process": -1}))
    with FileLock(sweep.path / ".lock"):
        answer = viewfinder("cancel", sweep.path)
    assert answer.code == 2
    assert "process" in answer.err


def test_status_of_a_sweep_whose_file_does_not_say_the_number_of_epochs(sweep: SweepFolder, viewfinder: Type) -> None:
    file = sweep.path / "sweep.json"
    content = json.loads(file.read_text())
    for job in content["jobs"]:
        del job["config"]["trainer"]
    file.write_text(json.dumps(content))
    answer = viewfinder("status", sweep.path)
    assert answer.code == 0
    assert "3/?" in read_table(answer.out)["0"]


def test_status_of_a_search_names_the_command_that_shows_its_trials(tmp_path: Path, viewfinder: Type) -> None:
    (tmp_path / "search.json").write_text("{}")
    assert "is a search, not a sweep" in on_one_line(viewfinder("status", tmp_path).err)


def test_a_time_names_its_day_if_it_is_far_away() -> None:
    now = datetime.fromisoformat("2026-11-28T12:00:00").astimezone()
    assert format_time((now - timedelta(hours=2)).isoformat(), now) == "10:00"
    assert format_time((now - timedelta(days=2)).isoformat(), now) == "11-26 12:00"
    assert format_time("", now) == ""
