"""Launcher of a run's processes: Lightning or torchrun; variables that any other launcher has left are ignored."""

import contextlib
import os
import threading
import time
from collections.abc import Iterator

from viewfinder.errors import Problem, UserError

PROCESS_VARIABLE = "VIEWFINDER_PROCESS"
"""Environment variable that gives helper processes, which Lightning starts, the id of the first process."""
TORCHRUN_VARIABLE = "TORCHELASTIC_RUN_ID"
"""Environment variable of every process that torchrun starts."""
LAUNCHER_VARIABLES = (
    "RANK", "LOCAL_RANK", "GROUP_RANK", "ROLE_RANK", "NODE_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE",
    "GROUP_WORLD_SIZE", "ROLE_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "SLURM_PROCID", "JSM_NAMESPACE_RANK",
    TORCHRUN_VARIABLE, "TORCHELASTIC_USE_AGENT_STORE",
)  # fmt: skip
"""Environment variables from which Lightning and torch conclude that a process is one of several."""
TASK_VARIABLES = {
    "srun": "SLURM_STEP_NUM_TASKS", "mpirun": "OMPI_COMM_WORLD_SIZE", "mpiexec": "PMI_SIZE",
    "jsrun": "JSM_NAMESPACE_SIZE",
}  # fmt: skip
"""Launcher -> environment variable with the number of processes that it has started."""
POLL_SECONDS = 1.0


def is_helper() -> bool:
    """Return whether this is a process of a distributed run other than the first."""
    return _is_started_by_run() or (TORCHRUN_VARIABLE in os.environ and os.environ.get("RANK", "0") != "0")


def _is_started_by_run() -> bool:
    return PROCESS_VARIABLE in os.environ and os.environ.get("LOCAL_RANK", "0") != "0"


def ignore_other_launchers(devices: int | str | None = None) -> dict[str, str]:
    """Remove the variables of launchers that did not start this run's processes from the environment.

    Call this before Lightning is imported, which reads them. A helper process instead ends with the first process.

    Args:
        devices: `trainer.devices`; torchrun's variables remain if it is greater than 1, or not known yet (None).

    Returns:
        The removed variables.
    """
    if _is_started_by_run():
        threading.Thread(target=_end_with_first_process, daemon=True).start()
        return {}
    if devices != 1 and (TORCHRUN_VARIABLE in os.environ or os.environ.get(PROCESS_VARIABLE) == str(os.getpid())):
        return {}
    return {name: os.environ.pop(name) for name in LAUNCHER_VARIABLES if name in os.environ}


def _end_with_first_process() -> None:
    """End this process once its parent, the first process, has ended: otherwise it would wait for it."""
    first = int(os.environ[PROCESS_VARIABLE])
    while os.getppid() == first:
        time.sleep(POLL_SECONDS)
    os._exit(1)


@contextlib.contextmanager
def own_launcher(devices: int | str | None) -> Iterator[None]:
    """Let `trainer.devices` alone decide whether a run in this block is distributed; restore the variables afterwards.

    After a distributed run, the variables that Lightning has set remain: its helper processes go on with the next run
    of the same program.

    Args:
        devices: `trainer.devices`; None if it is not known yet.

    Raises:
        UserError: if another launcher has started several processes, and each would start several.
    """
    check_launcher(devices)
    variables = ignore_other_launchers(devices)
    if devices not in (1, None) and not is_helper():
        os.environ[PROCESS_VARIABLE] = str(os.getpid())
    try:
        yield
    finally:
        if "LOCAL_RANK" not in os.environ:  # Lightning has started no helper processes
            os.environ.pop(PROCESS_VARIABLE, None)
        for name, value in variables.items():
            os.environ.setdefault(name, value)


def check_launcher(devices: int | str | None) -> None:
    """Check that a distributed run is started once, or by torchrun with as many processes as devices.

    Raises:
        UserError: if not.
    """
    if devices in (1, None) or _is_started_by_run():
        return
    if TORCHRUN_VARIABLE in os.environ:
        count = os.environ.get("WORLD_SIZE", "1")
        if devices != "auto" and count != str(devices):
            rule = f"must be the number of processes that torchrun has started, {count}"
            remedy = f"If this is not torchrun: unset {TORCHRUN_VARIABLE}."
            raise UserError("the launcher", [Problem("trainer.devices", rule, str(devices), remedy)])
        return
    for launcher, variable in TASK_VARIABLES.items():
        if os.environ.get(variable, "1") not in ("", "0", "1"):
            rule = f"starts processes of its own, in each of the {os.environ[variable]} that {launcher} has started"
            remedy = f"Start one task, or use trainer.devices=1 for a run in each. If this is not {launcher}: "
            raise UserError(
                "the launcher", [Problem("trainer.devices", rule, str(devices), f"{remedy}unset {variable}.")]
            )
