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
WAYS = {
    "one at a time": ["hydra/launcher=basic"],
    f"{CORES} at once": ["hydra/launcher=joblib", f"hydra.launcher.n_jobs={CORES}"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=2 * CORES)
    args = parser.parse_args()
    for network, limit in (("mlp", 10_000), ("simple_cnn", 10_000), ("custom_cnn", 1_500)):
        seconds: dict[str, list[float]] = {way: [] for way in WAYS}
        for _ in range(args.rounds):
            for way, words in WAYS.items():
                seeds = ",".join(map(str, range(args.jobs)))
                line = [f"model={network}", "data=image_folder", f"data.root={args.pictures}", f"data.limit={limit}"]
                seconds[way].append(run_sweep([*line, "trainer=cpu", "trainer.max_epochs=5", f"seed={seeds}", *words]))
        sequential, parallel = seconds.values()
        ratio = statistics.median(a / b for a, b in zip(sequential, parallel, strict=True))
        hours = "  ".join(f"{way}: {3600 / statistics.median(each):.0f}" for way, each in seconds.items())
        print(f"{network}: sweeps of {args.jobs} jobs an hour: {hours}; ratio {ratio:.2f}", flush=True)


def run_sweep(line: list[str]) -> float:
    """Return the seconds of the command."""
    with tempfile.TemporaryDirectory() as folder:
        words = [sys.executable, str(TRAIN), "-m", *line, f"output_dir={folder}"]
        begun = time.perf_counter()
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(done.stdout + done.stderr)
        return time.perf_counter() - begun


if __name__ == "__main__":
    main()
