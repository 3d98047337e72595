"""SLURM cluster of two nodes on this machine, from Debian's packages slurm-wlm and munge.

    sudo apt-get install slurm-wlm munge
    python tests/clusters/slurm_cluster.py            start it, say how to reach it, and stop it after Ctrl-C

All files lie in a temporary folder, and the ports are free ones. It needs neither root nor systemd nor cgroups, and has
no accounting, like many small clusters, so that `sacct` fails.
"""

import argparse
import contextlib
import getpass
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import psutil
from ports import find_free_ports

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scontrol", "scancel", "srun")
SEARCH_PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
NODES = ("node1", "node2")
REQUEUE_DELAY = 5
"""Seconds until a requeued job may start again; 120 unless set."""
CONFIG = """\
ClusterName=viewfinder
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire={delay}
StateSaveLocation={folder}/state
SlurmctldPidFile={folder}/slurmctld.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdSpoolDir={folder}/%n
SlurmdPidFile={folder}/%n.pid
SlurmdLogFile={folder}/%n.log
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=2,bf_interval=2,batch_sched_delay=0
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
MaxArraySize={max_array_size}
MaxJobCount=20000
MinJobAge=3600
KillWait=5
ReturnToService=2
SlurmdTimeout=10
{nodes}
PartitionName=short Nodes=ALL Default=YES MaxTime=60 State=UP
"""


def find_missing_programs() -> list[str]:
    """Return the programs of slurm-wlm and munge that are not installed."""
    return [name for name in PROGRAMS if shutil.which(name, path=SEARCH_PATH) is None]


class SlurmCluster:
    """Context manager of a cluster: authentication service, controller and two nodes.

    Args:
        cpus: CPUs that each node claims to have, even if the machine has fewer.
        max_array_size: the highest index of an array's job is one less.
    """

    def __init__(self, cpus: int = 2, max_array_size: int = 1001):
        self.folder = Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp"))  # short: it holds a socket
        self.config = self.folder / "slurm.conf"
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.variables = {"SLURM_CONF": str(self.config), "PATH": SEARCH_PATH}
        """environment variables of a process that uses the cluster"""
        controller_port, *node_ports = find_free_ports(1 + len(NODES))
        nodes = [
            f"NodeName={name} NodeHostname=localhost NodeAddr=127.0.0.1 Port={port} CPUs={cpus} RealMemory=16000"
            for name, port in zip(NODES, node_ports, strict=True)
        ]
        config = CONFIG.format(
            folder=self.folder, host=socket.gethostname(), user=getpass.getuser(), port=controller_port,
            delay=REQUEUE_DELAY, max_array_size=max_array_size, nodes="\n".join(nodes),
        )  # fmt: skip
        self.config.write_text(config)
        (self.folder / "state").mkdir()
        (self.folder / "munge.key").write_bytes(secrets.token_bytes(128))
        (self.folder / "munge.key").chmod(0o600)

    def __enter__(self) -> "SlurmCluster":
        try:
            self._start_munge()
            self.start_controller()
            for name in NODES:
                self.start_node(name)
            self.wait_for("idle nodes", lambda: self.query("sinfo", "-h", "-o", "%T %D") == f"idle {len(NODES)}")
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        shutil.rmtree(self.folder)

    def start_controller(self) -> None:
        """Start slurmctld, with the jobs that an earlier one has left."""
        self._start("slurmctld", "slurmctld", "-D", "-f", str(self.config))
        self.wait_for("controller", lambda: "is UP" in self.query("scontrol", "ping"))

    def stop_controller(self, number: int = signal.SIGTERM) -> None:
        """End slurmctld; running jobs go on. After SIGKILL it has forgotten the jobs of the last seconds."""
        self._stop("slurmctld", number)

    def start_node(self, name: str) -> None:
        """Start a node's slurmd."""
        self._start(name, "slurmd", "-D", "-N", name, "-f", str(self.config))

    def kill_node(self, name: str) -> None:
        """End a node's slurmd and the processes of its jobs with SIGKILL, as a power failure does."""
        self._stop(name, signal.SIGKILL)
        self._kill_steps(name)

    def query(self, *command: str) -> str:
        """Return what a command of SLURM prints; '' if it fails."""
        environment = os.environ | self.variables
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
        return done.stdout.strip() if done.returncode == 0 else ""

    def wait_for(self, event: str, has_happened: Callable[[], bool], seconds: float = 30) -> None:
        """Wait until a function returns True.

        Raises:
            RuntimeError: if it does not within this time, or if a process of the cluster ends.
        """
        end = time.monotonic() + seconds
        while not has_happened():
            ended = [name for name, process in self.processes.items() if process.poll() is not None]
            if ended or time.monotonic() > end:
                raise RuntimeError(f"no {event} within {seconds} s; ended: {ended}; see {self.folder}")
            time.sleep(0.1)

    def stop(self) -> None:
        """End all jobs and the cluster's processes."""
        if "slurmctld" in self.processes:
            self.query("scancel", "--user", getpass.getuser())
            with contextlib.suppress(RuntimeError):
                self.wait_for("end of all jobs", lambda: not self.query("squeue", "-h"), 10)
        for name in reversed(list(self.processes)):
            self._stop(name, signal.SIGTERM)
        self._kill_steps(*NODES)

    def _start_munge(self) -> None:
        names = {"socket": "socket", "key-file": "key", "seed-file": "seed", "pid-file": "pid", "log-file": "log"}
        options = [f"--{option}={self.folder}/munge.{suffix}" for option, suffix in names.items()]
        self._start("munged", "munged", "--foreground", "--force", *options)
        self.wait_for("socket of munged", (self.folder / "munge.socket").exists)

    def _start(self, name: str, program: str, *arguments: str) -> None:
        path = shutil.which(program, path=SEARCH_PATH)
        assert path is not None, f"{program} is not installed"
        with (self.folder / f"{name}.out").open("ab") as out:
            self.processes[name] = subprocess.Popen(
                [path, *arguments], stdout=out, stderr=out, env=os.environ | self.variables, start_new_session=True
            )

    def _stop(self, name: str, number: int) -> None:
        process = self.processes.pop(name)
        process.send_signal(number)
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def find_steps(self, *nodes: str) -> list[psutil.Process]:
        """Return the slurmstepd of each job on these nodes, which keeps its node's log open."""
        logs, found = {str(self.folder / f"{name}.log") for name in nodes}, []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.name() == "slurmstepd" and logs.intersection(file.path for file in process.open_files()):
                    found.append(process)
        return found

    def _kill_steps(self, *nodes: str) -> None:
        for step in self.find_steps(*nodes):
            for process in [*step.children(recursive=True), step]:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cpus", type=int, default=2, help="CPUs that each node claims to have (default: 2)")
    cpus = parser.parse_args().cpus
    if missing := find_missing_programs():
        raise SystemExit(f"{', '.join(missing)}: not installed. Try `sudo apt-get install slurm-wlm munge`.")
    with SlurmCluster(cpus) as cluster:
        print(cluster.query("sinfo"))
        print(f"\nexport SLURM_CONF={cluster.config}\n\nCtrl-C stops the cluster and its jobs.", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            signal.pause()


if __name__ == "__main__":
    main()
