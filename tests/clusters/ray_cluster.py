"""Ray cluster of several nodes on this machine.

    pip install "viewfinder[ray]"
    python tests/clusters/ray_cluster.py            start it, print its address, and stop it on Ctrl-C

All its files lie in a temporary folder, and its ports are free ones. Its dashboard, which runs any command that it is
sent, listens on the loopback interface alone.
"""

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
from ports import find_free_ports

OBJECT_STORE_BYTES = 80_000_000
"""Nearly the least that Ray accepts; the jobs store no objects."""
NODE_VARIABLE = "VIEWFINDER_RAY_NODE"
"""Environment variable that every process of a node inherits."""
TRIES = 4
"""Starts of a node, which Ray gives up after 30 s where the machine is busy."""
SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_memory_monitor_refresh_ms": "0",  # otherwise Ray kills jobs where other programs have filled the memory
    "RAY_DISABLE_DOCKER_CPU_WARNING": "1",
    "RAY_health_check_timeout_ms": "60000",  # on a busy machine; a node whose processes are gone is noticed as fast
    "RAY_JOB_START_TIMEOUT_SECONDS": "86400",
}


class RayCluster:
    """Head node and worker nodes, as processes of this one.

    Args:
        folder: existing folder for all files; short, because it holds the paths of sockets.
        nodes: number of nodes, including the head.
        cpus: CPUs that each node claims to have, which may be more than the machine has.
    """

    def __init__(self, folder: Path, nodes: int = 2, cpus: int = 1):
        self.folder, self.cpus = folder, cpus
        self.port, self.dashboard_port, self.client_port, *self.agent_ports = find_free_ports(3 + nodes)
        self.address = f"http://127.0.0.1:{self.dashboard_port}"
        self.nodes: dict[int, subprocess.Popen[bytes]] = {}
        """process of `ray start` for each living node; 0 is the head"""

    def start(self) -> None:
        """Start all nodes, and wait until each of them can run jobs."""
        for number in range(len(self.agent_ports)):
            for remaining in reversed(range(TRIES)):
                self._start_node(number)
                try:
                    self._wait_for(f"node {number}", lambda: self.count_nodes() == len(self.nodes))
                    break
                except RuntimeError:
                    self.kill_node(number)
                    if not remaining:
                        raise

    def _start_node(self, number: int) -> None:
        head = [
            "--head", f"--port={self.port}", f"--temp-dir={self.folder}", "--disable-usage-stats",
            "--include-dashboard=true", "--dashboard-host=127.0.0.1", f"--dashboard-port={self.dashboard_port}",
            f"--ray-client-server-port={self.client_port}",
        ]  # fmt: skip
        command = [
            sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--node-ip-address=127.0.0.1",
            *(head if number == 0 else [f"--address=127.0.0.1:{self.port}"]),
            f"--num-cpus={self.cpus}", "--num-gpus=0", f"--object-store-memory={OBJECT_STORE_BYTES}",
            f"--dashboard-agent-listen-port={self.agent_ports[number]}",
        ]  # fmt: skip
        environment = os.environ | SETTINGS | {NODE_VARIABLE: self._mark(number)}
        with (self.folder / f"node{number}.log").open("ab") as log:
            self.nodes[number] = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, start_new_session=True
            )

    def count_nodes(self) -> int:
        """Return the number of nodes that the cluster counts as alive."""
        try:
            with urllib.request.urlopen(f"{self.address}/api/v0/nodes", timeout=10) as answer:
                nodes = json.load(answer)["data"]["result"]["result"]
        except OSError:  # the dashboard has not started
            return 0
        return sum(node["state"] == "ALIVE" for node in nodes)

    def count_jobs(self) -> Counter[str]:
        """Count the jobs of the cluster by their status."""
        with urllib.request.urlopen(f"{self.address}/api/jobs/", timeout=60) as answer:
            return Counter(job["status"] for job in json.load(answer))

    def find_processes(self, number: int) -> list[psutil.Process]:
        """Return all processes of a node, those of its jobs among them."""
        with contextlib.suppress(psutil.NoSuchProcess):
            root = psutil.Process(self.nodes[number].pid)
            found = {root.pid: root} | {child.pid: child for child in root.children(recursive=True)}
            return list((found | {other.pid: other for other in _find_marked(self._mark(number))}).values())
        return _find_marked(self._mark(number))

    def find_runs(self, number: int) -> dict[Path, psutil.Process]:
        """Map the run folder of each job on a node to the job's process."""
        runs = {}
        for process in self.find_processes(number):
            with contextlib.suppress(psutil.Error, KeyError):
                if "viewfinder.sweeps.executors.task" in process.cmdline():  # a shell beside it has its variables, too
                    runs[Path(json.loads(process.environ()["VIEWFINDER_TASK"])["folder"])] = process
        return runs

    def kill_node(self, number: int) -> None:
        """End all processes of a node at once, as if its machine had lost power."""
        processes = self.find_processes(number)
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGSTOP)  # so that none of them notices the end of another
        for process in {*processes, *self.find_processes(number)}:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self.nodes.pop(number).wait()

    def stop(self) -> None:
        """End the processes of all nodes, and nothing else."""
        for number in sorted(self.nodes, reverse=True):
            processes = self.find_processes(number)
            self.nodes[number].terminate()
            psutil.wait_procs(processes, timeout=5)
            self.kill_node(number)

    def _mark(self, number: int) -> str:
        return f"{self.folder}:{number}"

    def _wait_for(self, event: str, has_come: Callable[[], bool], seconds: float = 300) -> None:
        end = time.monotonic() + seconds
        while not has_come():
            for number, process in self.nodes.items():
                if process.poll() is not None:
                    raise RuntimeError(f"node {number} ended with exit code {process.returncode}; see {self.folder}")
            if time.monotonic() > end:
                raise TimeoutError(f"no {event} within {seconds} s; see {self.folder}")
            time.sleep(0.2)


def _find_marked(mark: str) -> list[psutil.Process]:
    """Return the processes whose environment names a node; Ray's own hide theirs, but those of jobs do not."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get(NODE_VARIABLE) == mark:
                found.append(process)
    return found


@contextlib.contextmanager
def run_cluster(nodes: int = 2, cpus: int = 1) -> Iterator[RayCluster]:
    """Start a cluster for the time of this block; its files are removed unless the block fails."""
    folder = Path(tempfile.mkdtemp(prefix="ray-"))
    cluster = RayCluster(folder, nodes, cpus)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()
    shutil.rmtree(folder, ignore_errors=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=2, help="number of nodes (default: 2)")
    parser.add_argument("--cpus", type=int, default=1, help="CPUs that each node claims to have (default: 1)")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with contextlib.suppress(KeyboardInterrupt), run_cluster(args.nodes, args.cpus) as cluster:
        print(f"{args.nodes} nodes; to use them, add: hydra/launcher=ray hydra.launcher.address={cluster.address}")
        print("Ctrl-C stops them", flush=True)
        signal.pause()


if __name__ == "__main__":
    main()
