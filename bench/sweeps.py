"""Speed-up of a sweep with one core for each of several parallel jobs over one job at a time with all cores.

    python bench/sweeps.py PICTURES

PICTURES contains train/<class>/ and test/<class>/. Both launchers run the same command line in turn, each into a new
sweep. The time is that of the whole command, including start-up.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TRAIN = Path(__file__).resolve().parents[1] / "train.py"
CORES = os.cpu_count() or 1
LAUNCHERS = {
    "one at a time": ["hydra/launcher=basic"],
    f"{CORES} at once": ["hydra/launcher=joblib", f"hydra.launcher.n_jobs={CORES}"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", type=Path)
    parser.add_argument("--rounds", type=int, default=5, help="sweeps of each launcher (default: 5)")
    parser.add_argument("--jobs", type=int, default=2 * CORES, help="jobs of a sweep (default: two per core)")
    args = parser.parse_args()
    for network, limit in (("mlp", 10_000), ("simple_cnn", 10_000), ("custom_cnn", 1_500)):
        seconds: dict[str, list[float]] = {name: [] for name in LAUNCHERS}
        for _ in range(args.rounds):
            for name, launcher in LAUNCHERS.items():
                seeds = ",".join(map(str, range(args.jobs)))
                overrides = [f"model={network}", "data=image_folder", f"data.root={args.pictures}"]
                overrides += [f"data.limit={limit}", "trainer=cpu", "trainer.max_epochs=5", f"seed={seeds}", *launcher]
                seconds[name].append(run_sweep(overrides))
        sequential, parallel = seconds.values()
        ratio = statistics.median(slow / fast for slow, fast in zip(sequential, parallel, strict=True))
        rates = "  ".join(f"{name}: {3600 / statistics.median(times):.0f}" for name, times in seconds.items())
        print(f"{network}: sweeps of {args.jobs} jobs an hour: {rates}; ratio {ratio:.2f}", flush=True)


def run_sweep(overrides: list[str]) -> float:
    """Run a sweep in a new folder, and return its seconds."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, str(TRAIN), "-m", *overrides, f"output_dir={folder}"]
        started = time.perf_counter()
        completed = subprocess.run(command, capture_output=True, text=True, check=False)
        if completed.returncode:
            raise SystemExit(completed.stdout + completed.stderr)
        return time.perf_counter() - started


if __name__ == "__main__":
    main()
