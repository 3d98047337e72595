"""Executor that runs each job of a sweep as a job of a Ray cluster."""

import contextlib
import json
import os
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from viewfinder.config.validate import Count, NotNegative, Positive, Text
from viewfinder.errors import Problem, UserError
from viewfinder.sweeps.executors.protocol import Batch, JobState, list_latest
from viewfinder.sweeps.executors.ray_states import FOLDER_MISSING, describe_ray_job
from viewfinder.sweeps.executors.task import TASK_VARIABLE, Task

if TYPE_CHECKING:
    from viewfinder.sweeps.executors.ray_client import RayClient

STAGE = "the Ray cluster"
KEY = "hydra.launcher.address"
ADDRESS_VARIABLES = ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS")
"""Environment variables that Ray prefers to any address that its client is given."""
DEFAULT_ADDRESS = "http://127.0.0.1:8265"
"""Address of the dashboard of a cluster that runs on this machine."""
INSTALLING_KEYS = ("pip", "uv", "conda", "image_uri", "container")
"""Keys of a runtime environment that bring their own Python."""
STOP_SECONDS = {"RAY_JOB_STOP_WAIT_TIME_S": "60"}
"""Variable that gives a stopped job a minute to save its run; by default, Ray gives it 3 s."""
Answer = TypeVar("Answer")


class RayExecutor:
    """Executor that submits Ray jobs, which go on when this process ends.

    Args:
        folder: the sweep's folder, on a file system that all nodes of the cluster see.
        address: URL of the cluster's dashboard; None for $RAY_API_SERVER_ADDRESS, $RAY_ADDRESS or this machine's.
        num_cpus: CPUs that a job reserves; Ray counts them, but does not keep a job from using more.
        num_gpus: GPUs that a job reserves, which are the only ones that it sees; a fraction lets several share one.
        memory: bytes that a job reserves.
        resources: amount of each of the cluster's own resources that a job reserves.
        runtime_env: Ray's runtime environment of the jobs.
        python: Python interpreter on the nodes; None for the path of this one.
    """

    batch_size = 100
    poll_seconds = 3.0

    def __init__(
        self,
        *,
        folder: Path,
        address: Text | None = None,
        num_cpus: Positive = 1,
        num_gpus: NotNegative = 0,
        memory: Count | None = None,
        resources: dict[str, Positive] | None = None,
        runtime_env: dict[str, Any] | None = None,
        python: Text | None = None,
    ):
        self.folder, self.address, self.num_gpus = folder.absolute(), address, num_gpus
        self.reserved = {
            "entrypoint_num_cpus": num_cpus,
            "entrypoint_num_gpus": num_gpus,
            "entrypoint_memory": memory,
            "entrypoint_resources": resources,
        }
        self.runtime_env = runtime_env or {}
        self.python = python
        self._client: RayClient | None = None

    def check(self, configs: Sequence[Mapping[str, Any]]) -> None:
        """Check the GPUs of a job, and connect to the cluster.

        Raises:
            UserError: if a job needs more than it reserves, Ray is not installed, or the cluster does not answer.
        """
        key, problems = "hydra.launcher.num_gpus", []
        if self.num_gpus > 1 and self.num_gpus % 1:
            problems.append(Problem(key, "must be a whole number or a fraction below 1", str(self.num_gpus)))
        trainers = [config["trainer"] for config in configs]
        if any(trainer.get("num_nodes", 1) != 1 for trainer in trainers):
            problems.append(Problem("trainer.num_nodes", "must be 1: a Ray job runs on one node"))
        devices = [trainer.get("devices", 1) for trainer in trainers if trainer.get("accelerator") != "cpu"]
        most = max((count for count in devices if isinstance(count, int)), default=1)
        if most > 1 and self.num_gpus < most:
            problems.append(Problem(key, f"must be at least trainer.devices, which is {most}", str(self.num_gpus)))
        if problems:
            raise UserError("the command line", problems)
        self._connect()

    def count_free(self, queued: int) -> int:
        """Return a number that no sweep reaches: a cluster keeps any number of waiting jobs."""
        return sys.maxsize

    def submit(self, batch: Batch, tasks: Sequence[Task]) -> list[str]:
        """Submit one Ray job for each task, or none.

        Raises:
            UserError: if the cluster refuses one; those before it are stopped again.
        """
        client, submitted = self._connect(), []
        for task in tasks:
            submitted.append(task.name)
            try:
                self._submit_task(client, task)
            except (OSError, RuntimeError, ValueError) as error:
                from viewfinder.sweeps.executors.ray_client import describe_failure

                with contextlib.suppress(UserError):
                    self.cancel(submitted)
                key, address = self._find_address()
                rule = f"did not take the job {task.name}: {describe_failure(error)}"
                raise UserError(STAGE, [Problem(key, rule, address)]) from error
        return submitted

    def _submit_task(self, client: "RayClient", task: Task) -> None:
        env_vars = {TASK_VARIABLE: json.dumps(task._asdict())} | STOP_SECONDS
        if "PYTHONPATH" in os.environ:
            env_vars["PYTHONPATH"] = os.environ["PYTHONPATH"]
        runtime_env = self.runtime_env | {"env_vars": env_vars | (self.runtime_env.get("env_vars") or {})}
        try:
            client.submit_job(
                entrypoint=self._format_entrypoint(),
                submission_id=task.name,
                runtime_env=runtime_env,
                metadata={"run": task.folder},
                **self.reserved,
            )
        except OSError:  # it may have arrived nevertheless
            if task.name not in {job.submission_id for job in client.list_jobs()}:
                raise

    def _format_entrypoint(self) -> str:
        """Return the shell command of a job, which ends at once on a node that does not see the sweep's folder."""
        installs = any(key in self.runtime_env for key in INSTALLING_KEYS)
        python = self.python or ("python" if installs else sys.executable)
        folder = shlex.quote(str(self.folder))
        missing = shlex.quote(f"{self.folder} is missing; all nodes must share its file system, but this one does not:")
        return (
            f'test -d {folder} || {{ echo {missing} "$(hostname)"; exit {FOLDER_MISSING}; }}; '
            f"exec {shlex.quote(python)} -m viewfinder.sweeps.executors.task"
        )

    def read_states(self, batches: Sequence[Batch]) -> dict[str, JobState]:
        """Ask the cluster about the last attempt of each job.

        Raises:
            UserError: if the cluster does not answer.
        """
        jobs = {job.submission_id: job for job in self._ask(self._connect().list_jobs)}
        names = {
            folder: f"{batch.name}-{folder}-{job.attempt}" for folder, (batch, job) in list_latest(batches).items()
        }
        return {folder: describe_ray_job(name, jobs.get(name)) for folder, name in names.items()}

    def cancel(self, ids: Sequence[str]) -> None:
        """Send SIGTERM to jobs, and a minute later SIGKILL; Ray stops a job that waits only when its turn comes.

        Raises:
            UserError: if the cluster does not answer.
        """
        client = self._connect()
        active = {job.submission_id for job in self._ask(client.list_jobs) if not job.status.is_terminal()}
        for name in ids:
            if name in active:
                self._ask(lambda name=name: client.stop_job(name))

    def describe_log(self, job_id: str) -> str:
        """Return the command that prints the output of a job."""
        return shlex.join(["ray", "job", "logs", "--address", self._find_address()[1], job_id])

    def _connect(self) -> "RayClient":
        """Return the client of the cluster.

        Raises:
            UserError: if Ray is not installed, or the cluster does not answer.
        """
        if self._client is None:
            key, address = self._find_address()
            require_ray()
            from viewfinder.sweeps.executors.ray_client import RayClient, describe_failure

            try:
                self._client = RayClient(address)
            except (OSError, RuntimeError, ValueError, KeyError) as error:
                rule = f"is not the dashboard of a running Ray cluster: {describe_failure(error)}"
                remedy = "ray start --head starts one, with its dashboard at http://HOST:8265. See docs/clusters.md."
                raise UserError(STAGE, [Problem(key, rule, address, remedy)]) from error
        return self._client

    def _find_address(self) -> tuple[str, str]:
        """Return the key or environment variable that sets the dashboard's address, and the address.

        Raises:
            UserError: if it is not a URL.
        """
        candidates = {KEY: self.address} | {name: os.environ.get(name) for name in ADDRESS_VARIABLES}
        for key, address in candidates.items():
            if not address:
                continue
            if not address.startswith(("http://", "https://")) or not urlsplit(address).hostname:
                rule = "must be the URL of the cluster's dashboard, such as http://HOST:8265"
                remedy = "" if key == KEY else f"Or set {KEY}, which comes first."
                raise UserError(STAGE, [Problem(key, rule, address, remedy)])
            return key, address
        return KEY, DEFAULT_ADDRESS

    def _ask(self, question: Callable[[], Answer]) -> Answer:
        """Return an answer of the cluster.

        Raises:
            UserError: if it does not answer.
        """
        try:
            return question()
        except (OSError, RuntimeError, ValueError) as error:
            from viewfinder.sweeps.executors.ray_client import describe_failure

            key, address = self._find_address()
            remedy = "Its jobs go on; the same command attaches to them again."
            rule = f"fails to answer: {describe_failure(error)}"
            raise UserError(STAGE, [Problem(key, rule, address, remedy)]) from error


def require_ray() -> None:
    """Check that Ray is installed with its job server.

    Raises:
        UserError: if it is not.
    """
    if find_spec("ray") is None:
        rule, remedy = "needs Ray, which is not installed", 'pip install "viewfinder[ray]"'
        raise UserError("the installation", [Problem("hydra/launcher=ray", rule, remedy=remedy)])
