"""Processes of a distributed run, forked from the tests' process, which has imported everything."""

import os
import pickle
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch.distributed import TCPStore  # type: ignore[reportPrivateImportUsage]

from viewfinder.errors import FAILED, UserError

WAIT_SECONDS = 120.0
"""Time after which ranks that have not ended are killed."""


class Rank(NamedTuple):
    """How a rank ended."""

    code: int
    """exit code; negative for a signal"""
    result: Any
    """what the function returned; None if it raised"""
    output: str
    """standard output and errors"""
    seconds: float
    """time until it ended, since the last signal of a test or the start"""


def torchrun_variables(rank: int, count: int, port: int) -> dict[str, str]:
    """Return the environment of a rank under torchrun, whose store listens at a port."""
    return {
        "RANK": str(rank), "LOCAL_RANK": str(rank), "GROUP_RANK": "0", "WORLD_SIZE": str(count),
        "LOCAL_WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
        "TORCHELASTIC_RUN_ID": "tests", "TORCHELASTIC_USE_AGENT_STORE": "True", "TORCHELASTIC_RESTART_COUNT": "0",
    }  # fmt: skip


def srun_variables(rank: int, count: int, port: int) -> dict[str, str]:
    """Return the environment of a task of srun on one node, as SLURM 22.05 sets it; a port other than its usual one."""
    return {
        "SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank), "SLURM_NODEID": "0", "SLURM_STEP_NUM_TASKS": str(count),
        "SLURM_STEP_NUM_NODES": "1", "SLURM_NTASKS": str(count), "SLURM_JOB_ID": "12", "SLURM_STEP_ID": "0",
        "SLURM_NODELIST": "node1", "SLURM_STEP_NODELIST": "node1", "SLURM_CPUS_ON_NODE": str(count),
        "SLURM_JOB_NAME": "python", "MASTER_PORT": str(port),
    }  # fmt: skip


Variables = Callable[[int, int, int], dict[str, str]]


def run_ranks(
    function: Callable[[int], Any], folder: Path, count: int = 2, delays: Sequence[float] = (),
    variables: Variables = torchrun_variables,
) -> list[Rank]:  # fmt: skip
    """Run a function in each rank of a distributed run, and return how each ended.

    Args:
        function: takes the number of the rank.
        folder: existing folder for the ranks' output.
        delays: seconds until each rank starts.
        variables: environment of a rank under a launcher.
    """
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    port = store.port
    if variables is srun_variables:  # whose first rank opens the store
        del store
    started, pids = time.monotonic(), []
    for rank in range(count):
        with warnings.catch_warnings(action="ignore", category=DeprecationWarning):  # threads of the tests' process
            pid = os.fork()
        if not pid:
            _run(function, rank, folder, variables(rank, count, port), delays[rank] if delays else 0.0)
        pids.append(pid)
    ends: dict[int, tuple[int, float]] = {}
    while len(ends) < count:
        for rank, pid in enumerate(pids):
            if rank not in ends and (status := os.waitpid(pid, os.WNOHANG)) != (0, 0):
                ends[rank] = os.waitstatus_to_exitcode(status[1]), time.monotonic() - started
        if time.monotonic() - started > WAIT_SECONDS:
            for rank in set(range(count)) - set(ends):
                os.kill(pids[rank], signal.SIGKILL)
        time.sleep(0.02)
    return [Rank(ends[rank][0], *_read(folder, rank), ends[rank][1]) for rank in range(count)]


def _run(function: Callable[[int], Any], rank: int, folder: Path, variables: dict[str, str], delay: float) -> None:
    code = 1
    with (folder / f"{rank}.out").open("w") as out:
        try:
            os.dup2(out.fileno(), 1)
            os.dup2(out.fileno(), 2)
            sys.stdout, sys.stderr = out, out
            os.environ |= variables
            torch.set_num_threads(1)
            time.sleep(delay)
            (folder / f"{rank}.result").write_bytes(pickle.dumps(function(rank)))
            code = 0
        except UserError as error:
            print(error, file=out)
            code = FAILED
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
        except BaseException:
            traceback.print_exc(file=out)
        finally:
            out.flush()
            os._exit(code)


def _read(folder: Path, rank: int) -> tuple[Any, str]:
    path = folder / f"{rank}.result"
    result = pickle.loads(path.read_bytes()) if path.exists() else None
    path.unlink(missing_ok=True)
    return result, (folder / f"{rank}.out").read_text()
