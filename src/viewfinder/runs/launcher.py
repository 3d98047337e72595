"""Launcher of a run's processes: Lightning, torchrun or srun; variables that any other launcher has left are ignored.

`trainer.devices` and `trainer.num_nodes` decide whether a run is distributed. If they are both 1, each process that a
launcher has started trains a run of its own.
"""

import contextlib
import os
import threading
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

from viewfinder.errors import Problem, UserError

PROCESS_VARIABLE = "VIEWFINDER_PROCESS"
"""Environment variable that gives helper processes, which Lightning starts, the id of the first process."""
TORCHRUN_VARIABLE = "TORCHELASTIC_RUN_ID"
"""Environment variable of every process that torchrun starts."""
SRUN_VARIABLE = "SLURM_STEP_NUM_TASKS"
"""Environment variable of every process that srun starts: their number."""
LAUNCHER_VARIABLES = (
    "RANK", "LOCAL_RANK", "GROUP_RANK", "ROLE_RANK", "NODE_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE",
    "GROUP_WORLD_SIZE", "ROLE_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "SLURM_PROCID", "JSM_NAMESPACE_RANK",
    SRUN_VARIABLE, TORCHRUN_VARIABLE, "TORCHELASTIC_USE_AGENT_STORE",
)  # fmt: skip
"""Environment variables from which Lightning and torch conclude that a process is one of several."""
TASK_VARIABLES = {"mpirun": "OMPI_COMM_WORLD_SIZE", "mpiexec": "PMI_SIZE", "jsrun": "JSM_NAMESPACE_SIZE"}
"""Unsupported launcher -> environment variable with the number of processes that it has started."""
POLL_SECONDS = 1.0
Count = Any
"""Value of `trainer.devices` or `trainer.num_nodes`, which may not have been checked yet."""


class Place(NamedTuple):
    """Place of this process among those that torchrun or srun has started."""

    launcher: str
    rank: int
    world_size: int
    local_rank: int
    """rank within the node"""
    local_size: int
    """number of processes on each node"""
    node: int

    @property
    def nodes(self) -> int:
        """Number of nodes."""
        return self.world_size // self.local_size


def read_place() -> Place | None:
    """Return the place of this process according to torchrun or srun; None if neither has started several."""
    try:
        if TORCHRUN_VARIABLE in os.environ:
            rank, world_size = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
            local_rank = int(os.environ.get("LOCAL_RANK", rank))
            local_size = int(os.environ.get("LOCAL_WORLD_SIZE", world_size))
            return Place("torchrun", rank, world_size, local_rank, local_size, int(os.environ.get("GROUP_RANK", 0)))
        if int(os.environ.get(SRUN_VARIABLE) or 1) > 1:
            rank, local_rank, node = (int(os.environ[f"SLURM_{name}"]) for name in ("PROCID", "LOCALID", "NODEID"))
            world_size, nodes = int(os.environ[SRUN_VARIABLE]), int(os.environ.get("SLURM_STEP_NUM_NODES", 1))
            return Place("srun", rank, world_size, local_rank, max(1, world_size // nodes), node)
    except (KeyError, ValueError):  # what is left of another launcher
        pass
    return None


def is_helper() -> bool:
    """Return whether this is a process of a distributed run other than the first."""
    place = read_place()
    return _is_started_by_run() or (place is not None and place.rank != 0)


def _is_started_by_run() -> bool:
    return PROCESS_VARIABLE in os.environ and os.environ.get("LOCAL_RANK", "0") != "0"


def is_distributed(devices: Count, nodes: Count = 1) -> bool:
    """Return whether several processes train a run with these values of `trainer.devices` and `trainer.num_nodes`."""
    return devices != 1 or nodes != 1


def ignore_other_launchers(may_be_distributed: bool = True) -> dict[str, str]:
    """Remove the variables of launchers that did not start this run's processes from the environment.

    Call this before Lightning is imported, which reads them. A helper process instead ends with the first process.

    Args:
        may_be_distributed: whether several processes train the run, or this is not known yet; then the variables of
            torchrun and srun remain.

    Returns:
        The removed variables.
    """
    if _is_started_by_run():
        end_with_parent(int(os.environ[PROCESS_VARIABLE]))
        return {}
    if may_be_distributed and (read_place() or os.environ.get(PROCESS_VARIABLE) == str(os.getpid())):
        return {}
    return {name: os.environ.pop(name) for name in LAUNCHER_VARIABLES if name in os.environ}


def end_with_parent(parent: int) -> None:
    """End this process once its parent, the first process or torchrun, has ended: otherwise it would go on or wait."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(POLL_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@contextlib.contextmanager
def own_launcher(devices: Count = None, nodes: Count = 1) -> Iterator[None]:
    """Let the configuration alone decide whether a run in this block is distributed; restore the variables afterwards.

    After a distributed run, the variables that Lightning has set remain: its helper processes go on with the next run
    of the same program.

    Args:
        devices: `trainer.devices`; None if it is not known yet.
        nodes: `trainer.num_nodes`.

    Raises:
        UserError: if another launcher has started several processes, and each would start several.
    """
    check_launcher(devices, nodes)
    variables = ignore_other_launchers(is_distributed(devices, nodes))
    is_first = not _is_started_by_run() and read_place() is None
    if devices is not None and is_distributed(devices, nodes) and is_first:
        os.environ[PROCESS_VARIABLE] = str(os.getpid())
    try:
        yield
    finally:
        if "LOCAL_RANK" not in os.environ:  # Lightning has started no helper processes
            os.environ.pop(PROCESS_VARIABLE, None)
        for name, value in variables.items():
            os.environ.setdefault(name, value)


def check_launcher(devices: Count, nodes: Count = 1) -> None:
    """Check that a distributed run is started once, or by torchrun or srun with as many processes as it has devices.

    Raises:
        UserError: if not.
    """
    if devices is None or not is_distributed(devices, nodes) or _is_started_by_run():
        return
    if (place := read_place()) is not None:
        problems = _find_other_counts(place, devices, nodes)
    elif isinstance(nodes, int) and nodes != 1:
        rule, remedy = "needs a launcher on each node", "Start the run with torchrun or srun on all of them."
        problems = [Problem("trainer.num_nodes", rule, str(nodes), remedy)]
    else:
        problems = []
        for launcher, variable in TASK_VARIABLES.items():
            if os.environ.get(variable, "1") not in ("", "0", "1"):
                rule = f"starts its own processes, but {launcher} has already started {os.environ[variable]}"
                remedy = "Start one task, or use trainer.devices=1 for a run in each. If this is not "
                remedy += f"{launcher}: unset {variable}."
                problems = problems or [Problem("trainer.devices", rule, str(devices), remedy)]
    if problems:
        raise UserError("the launcher", problems)


def _find_other_counts(place: Place, devices: Count, nodes: Count) -> list[Problem]:
    """Return a problem for each count of processes or nodes in the configuration that differs from the launcher's."""
    variable = TORCHRUN_VARIABLE if place.launcher == "torchrun" else SRUN_VARIABLE
    remedy = f"If this is not {place.launcher}: unset {variable}."
    problems = []
    if devices != "auto" and str(devices) != str(place.local_size):
        each = " on each node" if place.nodes > 1 else ""
        rule = f"must be the number of processes that {place.launcher} has started{each}, {place.local_size}"
        problems.append(Problem("trainer.devices", rule, str(devices), remedy))
    if str(nodes) != str(place.nodes):
        rule = f"must be the number of nodes on which {place.launcher} has started processes, {place.nodes}"
        problems.append(Problem("trainer.num_nodes", rule, str(nodes), remedy))
    return problems
