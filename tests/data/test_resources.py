"""Cores and memory within the limits of affinity masks, control groups and ulimit."""

import os
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from viewfinder.data import resources
from viewfinder.data.resources import count_cores, free_memory

GIB = 2**30
V2 = "31 23 0:28 / /sys/fs/cgroup rw,relatime shared:9 - cgroup2 cgroup2 rw,nsdelegate"
V1_MEMORY = "35 31 0:32 {root} /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory"
V1_CPU = "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct"


def write_tree(root: Path, groups: str, mounts: str, files: dict[str, str]) -> Path:
    """Write proc/ and a folder of control groups."""
    for name, text in {"proc/self/cgroup": groups, "proc/self/mountinfo": mounts, **files}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text + "\n")
    return root


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pretend a machine of 8 cores with 22 GiB of free memory."""
    monkeypatch.setattr(resources.os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=22 * GIB))
    monkeypatch.delenv("SLURM_CPUS_ON_NODE", raising=False)


def test_without_limits_the_whole_machine_is_free(tmp_path: Path) -> None:
    files = {"sys/fs/cgroup/cpu.max": "max 100000", "sys/fs/cgroup/memory.max": "max"}
    for root in (tmp_path, write_tree(tmp_path / "v2", "0::/", V2, files)):
        assert (count_cores(root), free_memory(root)) == (8, 22 * GIB)


@pytest.mark.parametrize(
    ("group", "quota", "cores"), [("/", "100000 100000", 1), ("/a/b", "150000 100000", 2), ("/a", "9900000 100000", 8)]
)
def test_version_2_bounds_cores_and_memory_in_every_group_above(
    tmp_path: Path, group: str, quota: str, cores: int
) -> None:
    folder = "sys/fs/cgroup" + group.removesuffix("/b").rstrip("/")  # the limit is that of /, /a and /a
    files = {
        f"{folder}/cpu.max": quota,
        f"{folder}/memory.max": str(GIB),
        f"{folder}/memory.current": str(GIB - 300),
        f"{folder}/memory.stat": "anon 7\ninactive_file 200\nactive_file 9",
    }
    root = write_tree(tmp_path, f"0::{group}", V2, files)
    assert (count_cores(root), free_memory(root)) == (cores, 500)


@pytest.mark.parametrize(("mount_root", "inner"), [("/", "/slurm/job"), ("/slurm", "/job"), ("/other", "")])
def test_version_1_bounds_cores_and_memory(tmp_path: Path, mount_root: str, inner: str) -> None:
    memory = f"sys/fs/cgroup/memory{inner}"
    files = {
        "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "-1",
        "sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_quota_us": "250000",
        "sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_period_us": "100000",
        f"{memory}/memory.limit_in_bytes": str(256 * 2**20),
        f"{memory}/memory.usage_in_bytes": str(56 * 2**20),
        f"{memory}/memory.stat": "inactive_file 1\ntotal_inactive_file 4096",
    }
    groups = "4:memory:/slurm/job\n1:cpu,cpuacct:/job\n0::/"
    root = write_tree(tmp_path, groups, f"{V1_MEMORY.format(root=mount_root)}\n{V1_CPU}", files)
    assert (count_cores(root), free_memory(root)) == (3, 200 * 2**20 + 4096)


def test_an_exceeded_limit_leaves_nothing(tmp_path: Path) -> None:
    files = {"sys/fs/cgroup/memory.max": "1000", "sys/fs/cgroup/memory.current": "1200"}
    assert free_memory(write_tree(tmp_path, "0::/", V2, files)) == 0


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="no affinity masks")
def test_the_affinity_mask_bounds_the_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert count_cores(tmp_path) == 1
    finally:
        os.sched_setaffinity(0, before)


@pytest.mark.parametrize(("allocated", "cores"), [("3", 3), ("64", 8), ("", 8), ("2(x2)", 8)])
def test_the_allocation_of_a_slurm_job_bounds_the_cores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, allocated: str, cores: int
) -> None:
    monkeypatch.setenv("SLURM_CPUS_ON_NODE", allocated)
    assert count_cores(tmp_path) == cores


def test_ulimit_bounds_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limit = psutil.Process().memory_info().vms + GIB
    monkeypatch.setattr(resources.resource, "getrlimit", lambda _: (limit, limit))
    assert GIB / 2 < free_memory(tmp_path) <= GIB
