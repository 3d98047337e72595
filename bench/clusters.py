"""Cost of a sweep on SLURM for the machine where its command is typed, by the number of jobs.

    python bench/clusters.py --planned 10 100 1000 10000 --submitted 10 100 1000

Starts the cluster of tests/clusters/slurm_cluster.py, whose nodes start no job. `planned` is a dry run, `submitted` a
new sweep with `sweep.wait=false`, and `typed again` the same command, which finds every job in the queue. Then every
job gets the folder of a finished run, and `status` and `compare` read them all. Operations are system calls with a
path in the sweep's folder; strace counts them in a second run of the command.
"""

import argparse
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "clusters"))
from slurm_cluster import SlurmCluster  # type: ignore[reportMissingImports]

SHORT = ["model=mlp", "data=digits", "trainer=cpu", "trainer.threads=1", "trainer.max_epochs=1"]
TRAIN = [sys.executable, str(Path(__file__).resolve().parents[1] / "train.py")]
VIEWFINDER = [str(Path(sys.executable).with_name("viewfinder"))]
SLURM = ["hydra/launcher=submitit_slurm", "hydra.launcher.partition=short", "sweep.wait=false"]
COLUMNS = (" jobs", "seconds", "CPU seconds", "memory MB", "files a job", "operations a job", "SLURM commands")
QUEUE_COMMAND = re.compile(r'execve\(".*/(sbatch|squeue|sacct|scontrol|sinfo|scancel)".* = 0$')


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    counts = [10, 100, 1000]
    parser.add_argument("--planned", type=int, nargs="*", default=[*counts, 10000], help="numbers of jobs of a dry run")
    parser.add_argument("--submitted", type=int, nargs="*", default=counts, help="numbers of jobs to submit")
    args = parser.parse_args()
    print_row("", *COLUMNS)
    with tempfile.TemporaryDirectory() as name, SlurmCluster() as cluster:
        output_dir = Path(name)
        os.environ |= cluster.variables | {"XDG_CACHE_HOME": f"{name}/cache", "XDG_STATE_HOME": f"{name}/state"}
        cluster.query("scontrol", "update", "NodeName=ALL", "State=DRAIN", "Reason=bench")
        for count in args.planned:
            show("planned", count, line(output_dir / "planned", count, "sweep.dry_run=true"), output_dir / "planned")
        finished = output_dir / "finished"
        subprocess.run([*TRAIN, *SHORT, f"run_dir={finished}"], capture_output=True, check=True)
        for count in args.submitted:
            folder = output_dir / f"sweep{count}"
            show("submitted", count, line(folder, count), folder, is_new=True)
            show("typed again", count, line(folder, count), folder)
            for number in range(count):
                copy_run(finished, folder / str(number), number)
            show("status", count, [*VIEWFINDER, "status", str(folder)], folder)
            show("compare", count, [*VIEWFINDER, "compare", str(folder)], folder)
            cluster.query("scancel", "--state=PENDING", "--partition=short")


def line(folder: Path, count: int, *more: str) -> list[str]:
    """Return the command line of a sweep."""
    names = [f"output_dir={folder.parent}", f"sweep.name={folder.name}", f"sweep.max_jobs={count}"]
    return [*TRAIN, "-m", *SHORT, *SLURM, *names, f"seed=range(1,{count + 1})", *more]


def show(label: str, count: int, command: list[str], folder: Path, is_new: bool = False) -> None:
    """Run a command twice, the second time under strace, and print what it takes."""
    with tempfile.TemporaryFile() as out:
        started = time.perf_counter()
        process = subprocess.Popen(command, stdout=out, stderr=out)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
        out.seek(0)
        if status:
            raise SystemExit(f"{shlex.join(command)}\n{out.read().decode()}")
    files = sum(1 for path in folder.rglob("*") if path.is_file()) if is_new else 0
    operations, commands = "", ""
    if shutil.which("strace"):
        if is_new:
            shutil.rmtree(folder)
        with tempfile.NamedTemporaryFile("r", errors="replace") as trace:
            strace = ["strace", "-f", "--seccomp-bpf", "-qq", "-e", "trace=%file", "-e", "signal=none"]
            strace += ["-o", trace.name]
            subprocess.run([*strace, *command], capture_output=True, check=True)
            # Line by line: a child's peak memory is at least what this process had when it started the child.
            named = asked = 0
            for entry in trace:
                named += entry.count(str(folder))
                asked += QUEUE_COMMAND.search(entry) is not None
        operations, commands = f"{named / count:.1f}", str(asked)
    cells = [f"{count:,}", f"{seconds:.1f}", f"{usage.ru_utime + usage.ru_stime:.1f}", f"{usage.ru_maxrss / 1024:.0f}"]
    cells += [f"{files / count:.2f}" if is_new else "", operations, commands]
    print_row(label, *cells)


def print_row(label: str, *cells: str) -> None:
    """Print a row of the table."""
    padded = (f"{cell:>{len(name) + 2}}" for name, cell in zip(COLUMNS, cells, strict=True))
    print(f"{label:12}", *padded, sep="", flush=True)


def copy_run(finished: Path, folder: Path, number: int) -> None:
    """Copy a finished run with another seed; large files are links."""
    shutil.copytree(finished, folder, copy_function=os.link, ignore=shutil.ignore_patterns("config.yaml", ".lock"))
    settings = (finished / "config.yaml").read_text()
    (folder / "config.yaml").write_text(re.sub("^seed: .*", f"seed: {number + 1}", settings, flags=re.MULTILINE))


if __name__ == "__main__":
    main()
