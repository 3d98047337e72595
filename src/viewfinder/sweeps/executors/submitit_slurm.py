"""Executor for SLURM, through submitit: job arrays that are requeued before their time limit and when preempted."""

import functools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from viewfinder.config.validate import Count, NotNegative, Positive, Text, Whole
from viewfinder.errors import Problem, UserError, did_you_mean, join_names
from viewfinder.sweeps.executors.protocol import Batch, JobState, QueueFullError
from viewfinder.sweeps.executors.slurm_commands import describe_silence, require_commands, run_command
from viewfinder.sweeps.executors.slurm_states import read_slurm_states
from viewfinder.sweeps.executors.submitit_internals import make_submission_script
from viewfinder.sweeps.executors.submitit_submission import (
    find_log,
    make_submitit_executor,
    require_submitit,
    submit_tasks,
)
from viewfinder.sweeps.executors.task import Task

FULL = ("violates accounting/QOS policy", "job submit limit", "Resource temporarily unavailable", "MaxSubmit")
"""Parts of SLURM's messages when a user or the cluster has too many jobs."""
SILENT = ("Unable to contact slurm controller", "Socket timed out", "Connection refused")
"""Parts of SLURM's messages when its controller does not answer."""
NO_NODES = "node configuration is not available"
AVAILABLE = {"allocated", "completing", "idle", "mixed", "planned", "reserved"}
"""States of a node, from sinfo's manual, that accepts jobs now or later."""
DEFAULT_ARRAY_SIZE = 1001
"""MaxArraySize of SLURM's manual."""
MAX_BATCH = 1000
IDS_AT_ONCE = 500
UNLIMITED = 10**9


class SubmititSlurm:
    """Executor of SLURM jobs with the keys of Hydra's submitit launcher; null means the cluster's own default.

    Args:
        folder: folder of the sweep, which all nodes see under this path.
        signal_delay_s: seconds before the time limit at which the run is saved and the job requeued.
        max_num_timeout: number of time limits after which a job is not requeued.
        array_parallelism: number of jobs of an array that run at the same time.
        additional_parameters: any other options of sbatch, without their dashes.
    """

    poll_seconds = 15.0

    def __init__(
        self,
        *,
        folder: Path,
        partition: Text | None = None,
        timeout_min: Count = 60,
        signal_delay_s: Count = 120,
        max_num_timeout: Whole = 100,
        array_parallelism: Count = 256,
        cpus_per_task: Count | None = None,
        gpus_per_node: Whole | None = None,
        mem_gb: Positive | None = None,
        nodes: Count = 1,
        tasks_per_node: Count = 1,
        qos: Text | None = None,
        account: Text | None = None,
        constraint: Text | None = None,
        exclude: Text | None = None,
        gres: Text | None = None,
        cpus_per_gpu: Count | None = None,
        gpus_per_task: Count | None = None,
        mem_per_gpu: Text | None = None,
        mem_per_cpu: Text | None = None,
        comment: Text | None = None,
        setup: list[Text] | None = None,
        srun_args: list[Text] | None = None,
        additional_parameters: dict[str, Text | NotNegative | bool] | None = None,
        stderr_to_stdout: bool = False,
    ):
        self.folder, self.partition, self.max_num_timeout = folder.absolute(), partition, max_num_timeout
        self.parameters = {
            "timeout_min": timeout_min, "cpus_per_task": cpus_per_task, "gpus_per_node": gpus_per_node,
            "mem_gb": mem_gb, "nodes": nodes, "tasks_per_node": tasks_per_node, "stderr_to_stdout": stderr_to_stdout,
            "slurm_partition": partition, "slurm_signal_delay_s": signal_delay_s,
            "slurm_array_parallelism": array_parallelism, "slurm_qos": qos, "slurm_account": account,
            "slurm_constraint": constraint, "slurm_exclude": exclude, "slurm_gres": gres,
            "slurm_cpus_per_gpu": cpus_per_gpu, "slurm_gpus_per_task": gpus_per_task,
            "slurm_mem_per_gpu": mem_per_gpu, "slurm_mem_per_cpu": mem_per_cpu, "slurm_comment": comment,
            "slurm_setup": setup, "slurm_srun_args": srun_args,
            "slurm_additional_parameters": {"requeue": True, **(additional_parameters or {})},
        }  # fmt: skip

    @functools.cached_property
    def batch_size(self) -> int:
        """Largest array of this cluster, whose indices are below MaxArraySize."""
        match = re.search(r"MaxArraySize\s*=\s*(\d+)", run_command(["scontrol", "show", "config"]).stdout)
        return max(1, min(MAX_BATCH, int(match[1]) if match else DEFAULT_ARRAY_SIZE))

    def check(self, configs: Sequence[Mapping[str, Any]]) -> None:
        require_submitit("submitit_slurm")
        require_commands()
        self._check_signal_delay()
        self._check_tasks(configs)
        with TemporaryDirectory() as folder:
            script = Path(folder) / "check.sh"
            script.write_text(make_submission_script(self._make_executor("check")), encoding="utf-8")
            answer = run_command(["sbatch", "--test-only", str(script)])
        if answer.returncode and not any(text in answer.stderr for text in FULL):
            if NO_NODES in answer.stderr and self._has_unavailable_nodes():
                return
            raise self._describe_refusal(answer.stderr)

    def _has_unavailable_nodes(self) -> bool:
        """Return whether nodes of the partition are down or drained: sbatch queues jobs for them, but refuses tests."""
        chosen = [f"--partition={self.partition}"] if self.partition is not None else []
        answer = run_command(["sinfo", "--noheader", "--format=%a %T", *chosen])
        states = [words for line in answer.stdout.splitlines() if len(words := line.split()) == 2]
        return any(available != "up" or state not in AVAILABLE for available, state in states)

    def _check_signal_delay(self) -> None:
        """Raise UserError if a job would be requeued as soon as it starts."""
        limit, delay = 60 * self.parameters["timeout_min"], self.parameters["slurm_signal_delay_s"]
        if delay >= limit:
            rule = f"must be less than the {limit} seconds of timeout_min, or each job is requeued as soon as it starts"
            remedy = f"For example hydra.launcher.signal_delay_s={limit // 2}, or a longer time limit."
            raise UserError("the launcher", [Problem("hydra.launcher.signal_delay_s", rule, str(delay), remedy)])

    def _check_tasks(self, configs: Sequence[Mapping[str, Any]]) -> None:
        """Raise UserError if several tasks of a job are not the processes of its run."""
        tasks = {"tasks_per_node": self.parameters["tasks_per_node"], "nodes": self.parameters["nodes"]}
        for config in configs:
            run = {"devices": config["trainer"].get("devices", 1), "num_nodes": config["trainer"].get("num_nodes", 1)}
            is_started_by_run = set(tasks.values()) == {1} and run["num_nodes"] == 1
            if not is_started_by_run and list(tasks.values()) != list(run.values()):
                rule = f"does not fit: {_format_keys('hydra.launcher', tasks)}, but {_format_keys('trainer', run)}"
                remedy = "Set tasks_per_node to trainer.devices and nodes to trainer.num_nodes. On one node, "
                remedy += "tasks_per_node=1 lets the run start its processes itself."
                raise UserError("the launcher", [Problem("hydra.launcher", rule, remedy=remedy)])

    def count_free(self, queued: int) -> int:
        return UNLIMITED  # SLURM itself refuses a batch beyond the limits of a user

    def submit(self, batch: Batch, tasks: Sequence[Task]) -> list[str]:
        from submitit.core.utils import FailedJobError

        try:
            return [str(job.job_id) for job in submit_tasks(self._make_executor(batch.name), tasks)]
        except FailedJobError as error:
            if any(text in str(error) for text in FULL):
                raise QueueFullError(_clean(str(error))) from error
            raise self._describe_refusal(str(error)) from error

    def read_states(self, batches: Sequence[Batch]) -> dict[str, JobState]:
        return read_slurm_states(batches)

    def cancel(self, ids: Sequence[str]) -> None:
        for start in range(0, len(ids), IDS_AT_ONCE):
            answer = run_command(["scancel", *ids[start : start + IDS_AT_ONCE]])
            if answer.returncode and "Invalid job id" not in answer.stderr:  # which has ended
                raise describe_silence("scancel", answer.stderr)

    def describe_log(self, job_id: str) -> str:
        return find_log(self.folder, job_id)

    def _make_executor(self, name: str) -> Any:
        parameters = {**self.parameters, "name": name}
        return make_submitit_executor("slurm", self.folder, self.max_num_timeout, parameters)

    def _describe_refusal(self, message: str) -> UserError:
        """Return the UserError for a message of sbatch; for a wrong partition, it names the partitions."""
        if any(text in message for text in SILENT):
            return describe_silence("sbatch", message)
        problem = Problem("hydra.launcher", f"is refused by sbatch: {_clean(message)}")
        if "artition" in message and self.partition is not None:
            names = list(dict.fromkeys(run_command(["sinfo", "--noheader", "--format=%R"]).stdout.split()))
            remedy = f"{did_you_mean(self.partition, names)} Partitions: {join_names(names)}.".strip()
            problem = Problem("hydra.launcher.partition", problem.rule, self.partition, remedy)
        return UserError("the launcher", [problem])


def _format_keys(group: str, values: Mapping[str, Any]) -> str:
    return join_names(f"{group}.{name}={value}" for name, value in values.items())


def _clean(message: str) -> str:
    """Return a message of sbatch on one line, without its prefixes."""
    return " ".join(re.sub(r"\b(sbatch|allocation failure|error):", "", message).split())
