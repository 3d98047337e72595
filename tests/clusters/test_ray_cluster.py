"""Sweep on a Ray cluster of two nodes on this machine, whose driver and one of whose nodes are killed."""

import signal
from importlib.util import find_spec
from pathlib import Path

import pytest
from ray_cluster import RayCluster, run_cluster
from scenario import JOBS, check_same_results, driver, finish, read_attempts, wait_until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("ray") is None, reason='not installed: Ray (pip install "viewfinder[ray]")'),
]
FOUR = [*JOBS, "seed=1,2"]
"""Four jobs of the scenario, since each of them imports torch anew."""


@pytest.fixture(scope="module")
def reference(tiny: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the same sweep on this machine."""
    folder = tmp_path_factory.mktemp("local") / "lr"
    finish(folder, *tiny, *FOUR, "hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
    return folder


def test_each_job_finishes_once_though_the_driver_and_a_node_are_killed(
    reference: Path, tiny: list[str], tmp_path: Path
) -> None:
    folder = tmp_path / "lr"
    with run_cluster(nodes=2) as cluster:
        line = [*tiny, *FOUR, "hydra/launcher=ray", f"hydra.launcher.address={cluster.address}"]
        with driver(folder, *line) as process:
            count = len(list(reference.glob("*/run.json")))
            wait_until("submission", lambda: process.poll() is not None or cluster.count_jobs().total() == count)
        # The driver is killed here.
        wait_until("job that ends without a driver", lambda: cluster.count_jobs()["SUCCEEDED"] > 0)
        lost = freeze_midway(cluster, node=1)
        cluster.kill_node(1)
        finish(folder, *line)
        counts = cluster.count_jobs()
    check_same_results(folder, reference)
    assert [name for name, attempt in read_attempts(folder).items() if attempt > 1] == [lost]
    assert counts == {"SUCCEEDED": count, "FAILED": 1}


def freeze_midway(cluster: RayCluster, node: int) -> str:
    """Stop the process of a run on a node between its first and its last epoch, and return the run folder's name."""
    frozen: list[str] = []

    def has_frozen() -> bool:
        for run, process in cluster.find_runs(node).items():
            if (run / "metrics.csv").exists() and not (run / "scores.json").exists():
                process.send_signal(signal.SIGSTOP)
                if not (run / "scores.json").exists():
                    frozen.append(run.name)
                    return True
                process.send_signal(signal.SIGCONT)
        return False

    wait_until("run midway", has_frozen, interval=0.05)
    return frozen[0]
