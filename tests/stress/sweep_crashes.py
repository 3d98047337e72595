"""A sweep whose parent process is killed at random moments and restarted, compared with an undisturbed one.

    python tests/stress/sweep_crashes.py --jobs 12 --kills 10 --seed 1 --at-once 2

Each restart uses the same command line. In the end all jobs must have finished, none of them twice, with the scores,
metrics, predictions and weights of the undisturbed sweep.
"""

import argparse
import json
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

from crashes import read_outcome

from viewfinder.cli.train import main as main_of_train
from viewfinder.runs.stop_signals import STOP_SIGNALS
from viewfinder.sweeps.executors.local import LocalExecutor

CONTEXT = multiprocessing.get_context("forkserver")


def start_sweep(folder: Path, overrides: list[str]) -> BaseProcess:
    """Start `python train.py -m` in a fork of the local executor's server, which has imported torch."""
    command = ["train.py", "-m", *overrides, f"output_dir={folder.parent}", f"sweep.name={folder.name}"]
    process = CONTEXT.Process(target=run_sweep, args=(command, folder.with_name(f"{folder.name}.out")))
    process.start()
    return process


def run_sweep(command: list[str], output: Path) -> None:
    with output.open("ab") as out:
        os.dup2(out.fileno(), 1)
        os.dup2(out.fileno(), 2)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)  # blocked in the server
    sys.argv, sys.orig_argv = command, ["python", *command]
    main_of_train()


def finished_jobs(folder: Path) -> dict[str, str]:
    """Return the time at which each job ended, which changes if it runs to its end again."""
    runs = {file.parent.name: json.loads(file.read_text()) for file in folder.glob("*/run.json")}
    return {name: facts["ended"] for name, facts in runs.items() if facts["status"] == "finished"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=12, help="number of jobs, even (default: 12)")
    parser.add_argument("--kills", type=int, default=10, help="number of kills at most (default: 10)")
    parser.add_argument("--seed", type=int, default=1, help="seed of the moments of the kills (default: 1)")
    parser.add_argument("--at-once", type=int, default=2, help="number of parallel jobs (default: 2)")
    parser.add_argument("overrides", nargs="*", default=["experiment=quickstart", "trainer.max_epochs=3"])
    args = parser.parse_args()
    rng, root = random.Random(args.seed), Path(tempfile.mkdtemp(prefix="sweep-crashes-"))
    os.environ["XDG_CACHE_HOME"] = str(root / "cache")
    rates = ",".join(f"{rate}e-4" for rate in range(1, args.jobs // 2 + 1))
    overrides = [*args.overrides, "trainer=cpu", f"optimizer.lr={rates}", "seed=1,2"]
    overrides += ["hydra/launcher=joblib", f"hydra.launcher.n_jobs={args.at_once}"]
    whole, folder = root / "whole", root / "killed"
    started = time.monotonic()
    with LocalExecutor(len):
        pass  # its server is running now
    undisturbed = start_sweep(whole, overrides)
    undisturbed.join()
    assert undisturbed.exitcode == 0, root
    seconds = time.monotonic() - started
    kills, repeated, finished = 0, [], {}
    while True:
        process = start_sweep(folder, overrides)
        process.join(rng.uniform(0, seconds * min(1, 2 / args.kills)) if kills < args.kills else None)
        if process.exitcode is None:
            process.kill()
            process.join()
        code = process.exitcode
        now = finished_jobs(folder)
        repeated += [name for name, ended in finished.items() if now.get(name) != ended]
        finished = now
        if code == 0:
            break
        assert code == -signal.SIGKILL, f"exit code {code}; see {folder}.out"
        kills += 1
        print(f"kill {kills}: {len(finished)} jobs finished", flush=True)
    different = [
        f"job {number}: {name}"
        for number in map(str, range(args.jobs))
        for name, value in read_outcome(whole / number).items()
        if read_outcome(folder / number)[name] != value
    ]
    print(
        f"{len(finished)} of {args.jobs} jobs finished after {kills} of {args.kills} kills, "
        f"{len(repeated)} of them twice; {len(different)} differences from the undisturbed sweep {different}; "
        f"{time.monotonic() - started:.0f} s; {root}"
    )
    raise SystemExit(bool(different or repeated or len(finished) != args.jobs))


if __name__ == "__main__":
    main()
