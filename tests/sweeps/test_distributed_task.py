"""The processes of a distributed job do what the first of them has decided."""

from pathlib import Path

import pytest
from conftest import raises_user_error

from viewfinder.sweeps.executors import distributed
from viewfinder.sweeps.executors.distributed import DECISION_VARIABLE, Decision, follow_decision, publish_decision


def test_processes_started_by_srun_and_by_the_first_process_follow_its_decision(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(DECISION_VARIABLE, "leave")
    for name, value in (("STEP_NUM_TASKS", "2"), ("JOB_ID", "7"), ("STEP_ID", "0"), ("RESTART_COUNT", "1")):
        monkeypatch.setenv(f"SLURM_{name}", value)
    publish_decision(tmp_path, "3", Decision.RESUME)
    assert follow_decision(tmp_path, "3") == Decision.RESUME  # as a process that inherits the environment
    monkeypatch.delenv(DECISION_VARIABLE)
    assert follow_decision(tmp_path, "3") == Decision.RESUME
    monkeypatch.setattr(distributed, "TIMEOUT", 0.0)
    monkeypatch.setenv("SLURM_RESTART_COUNT", "2")  # the decision before the job was requeued is of no use
    with raises_user_error("does not say whether the run begins or resumes"):
        follow_decision(tmp_path, "3")
