"""Sweep on a SLURM cluster of two nodes on this machine, whose driver, jobs and controller are interrupted."""

import re
from pathlib import Path

import pytest
from scenario import COUNT, JOBS, check_same_results, driver, finish, freeze, read_attempts, wait_until
from slurm_cluster import SlurmCluster, find_missing_programs

MISSING = find_missing_programs()
SLURM = [
    "hydra/launcher=submitit_slurm", "hydra.launcher.partition=short", "hydra.launcher.timeout_min=5",
    "hydra.launcher.cpus_per_task=1", "hydra.launcher.mem_gb=1",
]  # fmt: skip
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)} (apt-get install slurm-wlm munge)"),
]


@pytest.fixture(scope="module")
def reference(tiny: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the same sweep on this machine."""
    folder = tmp_path_factory.mktemp("local") / "lr"
    finish(folder, *tiny, *JOBS, "hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
    return folder


def test_each_job_finishes_once_whatever_happens_to_driver_jobs_and_controller(
    reference: Path, tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, line = tmp_path / "lr", [*tiny, *JOBS, *SLURM]
    with SlurmCluster() as cluster:
        for name, value in cluster.variables.items():
            monkeypatch.setenv(name, value)
        with driver(folder, *line):
            wait_until("submission", lambda: len(cluster.query("squeue", "-hr").splitlines()) == COUNT)
        # The driver is killed here.
        array = cluster.query("squeue", "-h", "-o", "%F").split()[0]
        for name in "0123":
            freeze(folder / name)  # until SLURM sends a signal, and SIGCONT with it
        cluster.stop_controller()
        cluster.start_controller()
        cluster.query("scontrol", "update", f"JobId={array}_0", "EndTime=now+60")  # warned, then requeued by the job
        cluster.query("scontrol", "update", f"JobId={array}_1", "EndTime=now+1")  # warned too late
        cluster.query("scontrol", "requeue", f"{array}_2")
        cluster.query("scancel", f"{array}_3", f"{array}_5")
        with driver(folder, *line) as again:
            for job in (f"{array}_0", f"{array}_1"):
                wait_until(f"end of {job}", lambda job=job: has_ended(cluster, job))
                cluster.query("scontrol", "update", f"JobId={job}", "TimeLimit=5")  # which EndTime has shortened
            assert again.wait(timeout=600) == 0, (tmp_path / "lr.out").read_text()
        started_again = {name for name in "012" if count_restarts(cluster, f"{array}_{name}")}
    check_same_results(folder, reference)
    submitted_again = {name for name, attempt in read_attempts(folder).items() if attempt > 1}
    assert submitted_again - {"1"} == {"3", "5"}
    assert started_again | submitted_again == {"0", "1", "2", "3", "5"}


def has_ended(cluster: SlurmCluster, job: str) -> bool:
    """Return whether a job that was running has ended or waits for its next start."""
    return cluster.query("squeue", "-hj", job, "--states=all", "-o", "%T") in ("PENDING", "TIMEOUT", "COMPLETED")


def count_restarts(cluster: SlurmCluster, job: str) -> int:
    """Return how many times SLURM has requeued a job."""
    (count,) = re.findall(r" Restarts=(\d+) ", cluster.query("scontrol", "show", "job", job))
    return int(count)
