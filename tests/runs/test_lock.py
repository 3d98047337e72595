"""The lock of a run folder tells a running process from a killed one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import raises_user_error

from viewfinder.runs.folder import RunFolder
from viewfinder.runs.lock import LOCK_FILE

fcntl = pytest.importorskip("fcntl")


@pytest.fixture
def killed(run_copy: RunFolder) -> RunFolder:
    """A run whose process was killed."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    run_copy.update_run(status="running", process=process.pid)
    return run_copy


def test_any_number_of_readers_see_that_a_run_was_killed(killed: RunFolder) -> None:
    with (killed.path / LOCK_FILE).open() as other_reader:
        fcntl.flock(other_reader, fcntl.LOCK_SH)
        assert killed.status == "killed"


def test_a_locked_run_is_running(killed: RunFolder) -> None:
    with (killed.path / LOCK_FILE).open() as writer:
        fcntl.flock(writer, fcntl.LOCK_EX)
        assert killed.status == "running"
    assert killed.status == "killed"


def test_reading_the_status_writes_nothing(killed: RunFolder) -> None:
    (killed.path / LOCK_FILE).unlink()
    before = {path.name: path.stat().st_mtime_ns for path in (killed.path, *killed.path.iterdir())}
    assert killed.status == "killed"
    assert {path.name: path.stat().st_mtime_ns for path in (killed.path, *killed.path.iterdir())} == before


def test_a_lock_that_cannot_be_opened_leaves_the_process_to_ask(
    killed: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("viewfinder.runs.lock.os.open", refuse)
    statuses = []
    for process, host in ((killed.read_run()["process"], None), (os.getpid(), None), (1, "another machine")):
        facts = killed.read_run()
        text = killed.run.read_text().replace(facts["machine"]["host"], host or facts["machine"]["host"])
        killed.run.write_text(text.replace(f'"process": {facts["process"]}', f'"process": {process}'))
        statuses.append(killed.status)
    assert statuses == ["killed", "running", "running"]


@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_a_lock_that_is_no_regular_file_is_refused_before_it_is_opened(
    kind: str, killed: RunFolder, tmp_path: Path
) -> None:
    lock, secret = killed.path / LOCK_FILE, tmp_path / "secret"
    secret.write_text("content")
    lock.unlink()
    {"link": lambda: lock.symlink_to(secret), "pipe": lambda: os.mkfifo(lock), "folder": lock.mkdir}[kind]()
    with raises_user_error(r"contains \.lock, which is not a regular file"):
        _ = killed.status
    assert secret.read_text() == "content"
