"""A sweep whose parent process is killed at random moments and restarted, compared with an undisturbed one.

    python tests/stress/sweep_crashes.py --jobs 12 --kills 10 --seed 1 --at-once 2

Each restart uses the same command line. In the end all jobs must have finished, none of them twice, with the scores,
metrics, predictions and weights of the undisturbed sweep.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from crashes import read_outcome

TRAIN = Path(__file__).resolve().parents[2] / "train.py"


def start_sweep(folder: Path, overrides: list[str]) -> "subprocess.Popen[bytes]":
    with (folder.parent / f"{folder.name}.out").open("ab") as out:
        command = [sys.executable, str(TRAIN), "-m", *overrides, f"output_dir={folder.parent}"]
        command.append(f"sweep.name={folder.name}")
        return subprocess.Popen(command, stdout=out, stderr=out)


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
    assert start_sweep(whole, overrides).wait() == 0, root
    seconds = time.monotonic() - started
    kills, repeated, finished = 0, [], {}
    while True:
        process = start_sweep(folder, overrides)
        try:
            code = process.wait(5 + rng.uniform(0, seconds * min(1, 2 / args.kills)) if kills < args.kills else None)
        except subprocess.TimeoutExpired:
            os.kill(process.pid, signal.SIGKILL)
            code = process.wait()
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
