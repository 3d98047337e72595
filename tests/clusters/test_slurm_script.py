"""The script that starts a SLURM cluster on this machine."""

from pathlib import Path
from typing import Any

import pytest
from conftest import raises_user_error
from slurm_cluster import NODES, SlurmCluster, find_missing_programs

from viewfinder.sweeps.executors.submitit_slurm import SubmititSlurm

MISSING = find_missing_programs()
pytestmark = pytest.mark.skipif(
    bool(MISSING), reason=f"no SLURM: {', '.join(MISSING)} not installed (apt-get install slurm-wlm munge)"
)
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"partition": "shorter"}, "(?i)invalid partition.*short"),
    ({"cpus_per_task": 3}, "(?i)node configuration is not available"),
    ({"mem_gb": 10_000}, "(?i)node configuration is not available"),
    ({"gpus_per_node": 1}, "(?i)generic resource"),
    ({"constraint": "a100"}, "(?i)invalid feature"),
]


def test_each_node_runs_a_job_impossible_ones_are_refused_and_no_process_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with SlurmCluster(cpus=1) as cluster:
        for _ in NODES:
            cluster.query("sbatch", "--output=/dev/null", "--wrap=sleep 60; sleep 60")
        cluster.wait_for("two running jobs", lambda: len(cluster.query("squeue", "-h", "-t", "R").splitlines()) == 2)
        assert set(cluster.query("squeue", "-h", "-o", "%N").split()) == set(NODES)
        cluster.wait_for("two steps", lambda: len(cluster.find_steps(*NODES)) == 2)
        for name, value in cluster.variables.items():
            monkeypatch.setenv(name, value)
        SubmititSlurm(folder=tmp_path).check([])
        for keys, rule in REFUSED:
            with raises_user_error(rule):
                SubmititSlurm(folder=tmp_path, **keys).check([])
        cluster.query("scontrol", "update", "NodeName=ALL", "State=DRAIN", "Reason=test")
        SubmititSlurm(folder=tmp_path).check([])
        assert len(cluster.query("squeue", "-hr", "--states=all").splitlines()) == len(NODES)
        daemons = list(cluster.processes.values())
    assert [process.returncode for process in daemons] == [0] * 4
    assert cluster.find_steps(*NODES) == []
    assert not cluster.folder.exists()
