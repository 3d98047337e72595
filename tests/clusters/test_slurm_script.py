"""The script that starts a SLURM cluster on this machine."""

import pytest
from slurm_cluster import NODES, SlurmCluster, find_missing_programs

MISSING = find_missing_programs()
pytestmark = pytest.mark.skipif(
    bool(MISSING), reason=f"no SLURM: {', '.join(MISSING)} not installed (apt-get install slurm-wlm munge)"
)


def test_each_node_runs_a_job_and_no_process_and_no_file_is_left() -> None:
    with SlurmCluster(cpus=1) as cluster:
        for _ in NODES:
            cluster.query("sbatch", "--output=/dev/null", "--wrap=sleep 60; sleep 60")
        cluster.wait_for("two running jobs", lambda: len(cluster.query("squeue", "-h", "-t", "R").splitlines()) == 2)
        assert set(cluster.query("squeue", "-h", "-o", "%N").split()) == set(NODES)
        cluster.wait_for("two steps", lambda: len(cluster.find_steps(*NODES)) == 2)
        daemons = list(cluster.processes.values())
    assert [process.returncode for process in daemons] == [0] * 4
    assert cluster.find_steps(*NODES) == []
    assert not cluster.folder.exists()
