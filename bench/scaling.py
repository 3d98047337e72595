"""Scaling of time and memory with the data, and throughput of several runs on one machine.

    python bench/scaling.py PICTURES

PICTURES contains train/<class>/ and test/<class>/. Every figure is measured on the command, in its own process.

    growth   simple_cnn on a quarter, a half and all of the training images, in batches of 32, 128 and 512
    memory   peak memory of the largest of these runs before it ends, compared with a run on very few images
    sharing  one run with a thread on each core; one run for each core with one thread; and one run for each core with a
             thread on each core; in turn
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

# Measured before the process ends: its exit sometimes touches 100 MB of library pages.
COMMAND = f"""
import sys
from viewfinder.cli.train import main
try:
    main()
finally:
    sys.path.insert(0, {str(Path(__file__).parent)!r})
    from ways import peak_memory
    print(peak_memory())
"""
FRACTIONS, BATCHES = (0.25, 0.5, 1.0), (32, 128, 512)
CORES = os.cpu_count() or 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--skip", nargs="+", choices=("growth", "sharing"), default=())
    args = parser.parse_args()
    if "growth" not in args.skip:
        measure_growth(args.pictures, args.rounds)
    if "sharing" not in args.skip:
        for network, fraction in (("mlp", 0.25), ("simple_cnn", 0.25), ("custom_cnn", 0.02)):
            measure_sharing(args.pictures, args.rounds, network, fraction)


def run(pictures: Path, *runs: list[str]) -> list[dict[str, Any]]:
    """Run commands at the same time, each with its own overrides.

    Returns:
        A dictionary for each: "seconds" of the second of three epochs, peak "memory" in MiB, and "size" of the images
        in MiB.
    """
    results = []
    with tempfile.TemporaryDirectory() as folder:
        processes = []
        for number, overrides in enumerate(runs):
            fixed = ["data=image_folder", f"data.root={pictures}", "trainer=cpu", "trainer.max_epochs=3"]
            command = [sys.executable, "-c", COMMAND, *fixed, f"run_dir={folder}/{number}", *overrides]
            with (Path(folder) / f"{number}.log").open("w") as log:
                processes.append(subprocess.Popen(command, stdout=log, stderr=log))
        for number, process in enumerate(processes):
            status, output = process.wait(), (Path(folder) / f"{number}.log").read_text()
            if status:
                for other in processes:
                    other.kill()
                raise SystemExit(output)
            facts, data = (json.loads((Path(folder) / f"{number}/{name}.json").read_text()) for name in ("run", "data"))
            height, width = data["picture_size"]
            size = sum(data["split_sizes"].values()) * data["channels"] * height * width / 2**20
            results.append({"seconds": facts["epoch_seconds"][1], "memory": int(output.split()[-1]), "size": size})
    return results


def measure_growth(pictures: Path, rounds: int) -> None:
    seconds: dict[tuple[float, int], list[float]] = {(f, b): [] for b in BATCHES for f in FRACTIONS}
    few: list[float] = []
    whole: list[float] = []
    size = 0.0
    for _ in range(rounds):
        (result,) = run(pictures, ["model=simple_cnn", "data.limit=1_000"])
        few.append(result["memory"] - result["size"])
        for fraction, batch in seconds:
            (result,) = run(
                pictures, ["model=simple_cnn", f"data.train_fraction={fraction}", f"data.batch_size={batch}"]
            )
            seconds[fraction, batch].append(result["seconds"])
            if (fraction, batch) == (FRACTIONS[-1], BATCHES[0]):
                whole.append(result["memory"])
                size = result["size"]
    print("seconds an epoch  " + "".join(f"{f'batch {batch}':>12}" for batch in BATCHES))
    for fraction in FRACTIONS:
        cells = "".join(f"{statistics.median(seconds[fraction, batch]):12.2f}" for batch in BATCHES)
        print(f"{fraction:4.0%} of the images{cells}")
    least, most = statistics.median(few), statistics.median(whole)
    print(
        f"memory: {least:.0f} MiB with very few images, {most:.0f} MiB with all, "
        f"which are {size:.0f} MiB: {(most - least) / size:.2f} times their bytes more"
    )


def measure_sharing(pictures: Path, rounds: int, network: str, fraction: float) -> None:
    ways = {
        "one run, a thread a core": (1, CORES),
        f"{CORES} runs, one thread each": (CORES, 1),
        f"{CORES} runs, a thread a core each": (CORES, CORES),
    }
    epochs: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(rounds):
        for way, (count, threads) in ways.items():
            overrides = [f"model={network}", f"data.train_fraction={fraction}", f"trainer.threads={threads}"]
            results = run(pictures, *[[*overrides, f"seed={seed}"] for seed in range(count)])
            epochs[way].append(3600 * sum(1 / result["seconds"] for result in results))
    first = epochs["one run, a thread a core"]
    for way, rates in epochs.items():
        times = statistics.median(mine / other for mine, other in zip(rates, first, strict=True))
        print(f"{network}: {way:28} {statistics.median(rates):7.0f} epochs an hour, {times:.2f} times the first")


if __name__ == "__main__":
    main()
