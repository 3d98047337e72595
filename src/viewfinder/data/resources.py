"""Cores and memory that this process may use, within the limits of containers, batch systems and the shell.

Linux limits a process by its affinity mask (taskset), by control groups of version 1 or 2, and by `ulimit -v`; psutil
reports the whole machine. SLURM allocates cores to a job, and does not enforce it on every cluster.
"""

import math
import os
import sys
from pathlib import Path, PurePosixPath

import psutil

if sys.platform != "win32":
    import resource

ROOT = Path("/")


def count_cores(root: Path = ROOT) -> int:
    """Return the number of cores in this process's affinity mask, or a smaller limit of control groups or SLURM.

    Args:
        root: folder with proc/ and the mounted control groups.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for folder in _find_groups("cpu", root):
        quota, period = _read_numbers(folder / "cpu.max", 2)
        if quota is None:
            (quota,), (period,) = (_read_numbers(folder / f"cpu.cfs_{name}_us", 1) for name in ("quota", "period"))
        if quota is not None and period and quota > 0:  # version 1 writes -1 for no limit
            cores = min(cores, math.ceil(quota / period))
    allocated = os.environ.get("SLURM_CPUS_ON_NODE", "")  # not every cluster binds a job to them
    return min(cores, int(allocated)) if allocated.isdecimal() and int(allocated) else cores


def free_memory(root: Path = ROOT) -> int:
    """Return the free bytes of the machine, or fewer that its control groups or `ulimit -v` leave to this process.

    Args:
        root: folder with proc/ and the mounted control groups.
    """
    free = psutil.virtual_memory().available
    for folder in _find_groups("memory", root):
        (limit,), (used,) = (_read_numbers(folder / name, 1) for name in ("memory.max", "memory.current"))
        cache = "inactive_file"
        if limit is None:
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes")
            (limit,), (used,) = (_read_numbers(folder / name, 1) for name in names)
            cache = "total_inactive_file"
        if limit is not None and used is not None:
            free = min(free, limit - used + _read_statistic(folder / "memory.stat", cache))
    if sys.platform != "win32" and (limit := resource.getrlimit(resource.RLIMIT_AS)[0]) != resource.RLIM_INFINITY:
        free = min(free, limit - psutil.Process().memory_info().vms)
    return max(0, free)


def _find_groups(controller: str, root: Path) -> list[Path]:
    """Return the folders of the control groups that contain this process; a limit of any of them holds.

    From proc_pid_cgroup(5) and proc_pid_mountinfo(5).
    """
    try:
        groups = (root / "proc/self/cgroup").read_text().splitlines()
        mounts = (root / "proc/self/mountinfo").read_text().splitlines()
    except OSError:  # not Linux
        return []
    paths: dict[str, str] = {}
    for line in groups:
        _, controllers, path = line.split(":", 2)
        paths.update(dict.fromkeys(controllers.split(","), path))
    folders: list[Path] = []
    for line in mounts:
        mount, _, file_system = line.partition(" - ")
        mount_root, mount_point = mount.split(" ")[3:5]
        kind, _, options = file_system.split(" ")[:3]
        name = "" if kind == "cgroup2" else controller
        if name in paths and (kind == "cgroup2" or (kind == "cgroup" and controller in options.split(","))):
            path = PurePosixPath(paths[name])
            inner = path.relative_to(mount_root) if path.is_relative_to(mount_root) else PurePosixPath()
            folders += [root / mount_point.lstrip("/") / part for part in (inner, *inner.parents)]
    return folders


def _read_numbers(path: Path, count: int) -> list[int | None]:
    """Return the numbers at the start of a file; None for each if it is missing or has 'max' for no limit."""
    try:
        return [int(word) for word in path.read_text().split()[:count]] or [None] * count
    except (OSError, ValueError):
        return [None] * count


def _read_statistic(path: Path, name: str) -> int:
    """Return a value of memory.stat; 0 if it is missing."""
    try:
        return int(dict(line.split() for line in path.read_text().splitlines())[name])
    except (OSError, ValueError, KeyError):
        return 0
