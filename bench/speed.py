"""Seconds an epoch of Viewfinder and of the same training written by hand in four ways.

    python bench/speed.py PICTURES                        the table, bench/speed.json and bench/speed.png
    python bench/speed.py PICTURES --networks simple_cnn  one network
    python bench/speed.py PICTURES --device cuda          on a GPU: bench/speed_cuda.json and bench/speed_cuda.png

PICTURES contains train/<class>/ and test/<class>/. Each way runs in its own process, in turn with the others, so that
other load on the machine affects all of them. An epoch is training on 80% of train/ in batches of 32 with Adam, then
validation on the rest; the last of two epochs is timed. custom_cnn trains on a part of the images and resnet50, with
random weights, on a small part; their seconds are scaled to all images. Viewfinder's seconds include the one pass that
computes the features of a frozen backbone. On a GPU all networks but resnet50 train on all images and all ways run in
one process; the GPU's busy time in an epoch is the sum of its kernels' times, recorded by torch.profiler.

    tutorial    the tutorial's network, Pillow images and ToTensor in a DataLoader, loss.item() each step; workers and
                threads = cores
    tutorial+   the same with the number of workers and threads that is fastest here
    lightning   plain Lightning as documented: self.log and torchmetrics each step, with the network and DataLoader of
                `tutorial+`
    bare        a loop over Viewfinder's batches and network, with its settings and nothing else
    viewfinder  run_experiment with every feature
"""

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ways
from ways import WHOLE, measure

WAYS = ("tutorial", "tutorial+", "lightning", "bare", "viewfinder")
NETWORKS = ("mlp", "simple_cnn", "custom_cnn", "resnet50")
PART = {"cpu": {"custom_cnn": 4_000, "resnet50": 128}, "cuda": {"resnet50": 4_000}}
"""Number of training images for networks with long epochs."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", type=Path)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=NETWORKS)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--limit", type=int, help="maximum number of training images")
    parser.add_argument("--device", choices=PART, default="cpu")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    parser.add_argument("--one", nargs=2, metavar=("WAY", "NETWORK"), help=argparse.SUPPRESS)
    parser.add_argument("--setting", type=int, nargs=2, metavar=("WORKERS", "THREADS"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    ways.DEVICE = args.device
    if args.one:
        way, network = args.one
        print(json.dumps(measure(way, network, args.pictures, args.limit, args.setting)))
        return
    arrays = decode_images(args.pictures)
    results = {network: race(network, arrays, args) for network in args.networks}
    name = "speed" if args.device == "cpu" else f"speed_{args.device}"
    (args.out / f"{name}.json").write_text(json.dumps(results, indent=2) + "\n")
    print_table(results)
    draw_chart(results, args.out / f"{name}.png")


def race(network: str, arrays: Path, args: argparse.Namespace) -> dict[str, Any]:
    """Run every way in turn, `rounds` times.

    Returns:
        {way: {"seconds": [...], "accuracy": ..., "memory": MB, ...}}
    """
    count = min(args.limit or WHOLE, PART[ways.DEVICE].get(network, WHOLE))

    def run(way: str, setting: list[int] | None = None) -> dict[str, Any]:
        if ways.DEVICE != "cpu":
            result = measure(way, network, arrays, count, setting)
        else:
            command = [sys.executable, __file__, str(arrays), "--one", way, network, "--limit", str(count)]
            command += ["--setting", *map(str, setting)] if setting else []
            completed = subprocess.run(command, capture_output=True, text=True, check=False)
            if completed.returncode:
                raise SystemExit(completed.stderr)
            result = json.loads(completed.stdout.splitlines()[-1])
        return result | {"seconds": result["seconds"] * WHOLE / count}

    cores = os.cpu_count() or 1
    best = run("settings")["best"] if set(args.ways) & {"tutorial+", "lightning"} else None
    settings: dict[str, Any] = {"tutorial": [cores, cores], "tutorial+": best, "lightning": best}
    results: dict[str, Any] = {way: {"seconds": [], "gflops": [], "setting": settings.get(way)} for way in args.ways}
    for number in range(args.rounds):
        # After the first round this process is warm, and one epoch is enough.
        ways.EPOCHS = 1 if ways.DEVICE != "cpu" and number else 2
        for way in args.ways:
            latest, result = run(way, settings.get(way)), results[way]
            result["seconds"].append(latest.pop("seconds"))
            result["gflops"].append(latest.pop("gflops"))
            results[way] = latest | result | {"memory": max(latest["memory"], result.get("memory", 0))}
            print(f"{network} round {number + 1}: {way} {result['seconds'][-1]:.2f} s", file=sys.stderr, flush=True)
    if ways.DEVICE != "cpu":
        for way, result in results.items():
            few = min(count, 8_000)
            result["busy"] = busy_seconds(way, network, arrays, few, settings.get(way)) * WHOLE / few
    return results


def busy_seconds(way: str, network: str, arrays: Path, count: int, setting: list[int] | None) -> float:
    """Return the time of all GPU kernels in one epoch: the difference between two epochs and one."""
    import torch

    kernel_times = []
    for epochs in (1, 2):
        ways.EPOCHS = epochs
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profiler:
            measure(way, network, arrays, count, setting)
        events = profiler.profiler.kineto_results.events()  # type: ignore[union-attr]
        kernel_times.append(sum(event.duration_ns() for event in events if str(event.device_type()).endswith("CUDA")))
    return (kernel_times[1] - kernel_times[0]) / 1e9


def decode_images(pictures: Path) -> Path:
    """Return a folder with train.npy, (N, 32, 32, 3) uint8, and labels.npy."""
    if (pictures / "train.npy").exists():
        return pictures
    import numpy as np
    from torchvision.datasets import ImageFolder

    folder = ImageFolder(str(pictures / "train"))
    out = Path(tempfile.mkdtemp(prefix="viewfinder-bench-"))
    np.save(out / "train.npy", np.stack([np.asarray(image.convert("RGB")) for image, _ in folder]))
    np.save(out / "labels.npy", np.array(folder.targets))
    return out


def print_table(results: dict[str, Any]) -> None:
    """Print medians with their ranges and ratios as Markdown."""
    print("| seconds an epoch | " + " | ".join(WAYS) + " |")
    print("|---" * (len(WAYS) + 1) + "|")
    for network, by_way in results.items():
        print(
            f"| `{network}` | "
            + " | ".join(spread(by_way[way]["seconds"]) if way in by_way else "" for way in WAYS)
            + " |"
        )
    print()
    for network, by_way in results.items():
        if "viewfinder" not in by_way:
            continue
        ours = by_way["viewfinder"]
        turns = zip(ours["seconds"], ours["gflops"], strict=True)
        share = statistics.median(ours["flops"] / 1e9 / seconds / gflops for seconds, gflops in turns)
        print(f"{network}, {ours['device']}, {ours['precision']}: {share:.0%} of the float32 matrix-multiply rate")
        for way, result in by_way.items():
            times = [theirs / own for theirs, own in zip(result["seconds"], ours["seconds"], strict=True)]
            setting = "{} workers, {} threads; ".format(*result["setting"]) if result["setting"] else ""
            busy = f"GPU busy {result['busy'] / statistics.median(result['seconds']):.0%}; " if "busy" in result else ""
            print(
                f"  {way:11} {statistics.median(times):5.3f} times viewfinder's time (medians of turns); "
                f"{busy}{setting}"
                f"accuracy after {ways.EPOCHS} epochs {result['accuracy']:.3f}; {result['memory']} MB at most"
            )


def spread(seconds: Sequence[float]) -> str:
    return f"{statistics.median(seconds):.2f} ({min(seconds):.2f} to {max(seconds):.2f})"


def draw_chart(results: dict[str, Any], path: Path) -> None:
    """Draw the seconds an epoch, one panel a network."""
    from matplotlib.figure import Figure

    columns = 2 if len(results) % 3 else 3
    rows = -(-len(results) // columns)
    figure = Figure(figsize=(9, 0.7 + 1.75 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).flat
    for axes, item in itertools.zip_longest(panels, results.items()):
        if item is None:
            axes.remove()
            continue
        network, by_way = item
        names = list(by_way)[::-1]
        seconds = [statistics.median(by_way[name]["seconds"]) for name in names]
        bars = axes.barh(names, seconds, color=["#1f77b4" if name == "viewfinder" else "#bbbbbb" for name in names])
        axes.bar_label(bars, [f"{value:.1f} s" if value < 100 else f"{value:.0f} s" for value in seconds], padding=3)
        axes.set_title(network)
        axes.set_xlim(0, max(seconds) * 1.25)
        axes.spines[["top", "right"]].set_visible(False)
    figure.supxlabel(f"seconds an epoch of {WHOLE:,} images, with validation", fontsize=10)
    figure.savefig(path, dpi=130)


if __name__ == "__main__":
    main()
