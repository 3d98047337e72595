"""Time saved by computing the features of a frozen ResNet-50 once.

    python bench/features.py PICTURES [--weights FILE] [--epochs 10] [--rounds 5]

Measures the pass alone, in turn with a plain loop over the same images (NCHW, batches of 32). Then measures whole runs,
each in its own process with its peak memory: with an empty cache, with cached features, and without the cache (at most
three epochs). PICTURES is a folder for data=image_folder.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import torch
import torchvision

from viewfinder.config.overrides import compose_config
from viewfinder.experiment.build import build_components
from viewfinder.runs.atomic import read_json
from viewfinder.training.features.extract import FeatureExtractor

COUNT = 96
"""Number of images in each round of the pass."""


def measure_pass(overrides: list[str], rounds: int) -> None:
    parts = build_components(compose_config([*overrides, f"data.limit={COUNT}"]))
    network: Any = parts.classifier.network
    ours = FeatureExtractor(network, parts.data.images["train"].gather(torch.arange(1))[0], torch.device("cpu"))
    theirs = torchvision.models.resnet50(weights=None)
    theirs.fc = torch.nn.Identity()  # type: ignore[assignment]
    theirs.load_state_dict(network.backbone.state_dict())
    theirs.eval()
    pixels = parts.data.images["train"].pixels

    def run_plain_loop() -> torch.Tensor:
        with torch.no_grad():
            images = [network.preprocess(part).contiguous() for part in pixels.split(32)]
            return torch.cat([theirs(part) for part in images])

    def run_viewfinder() -> torch.Tensor:
        return torch.cat(list(ours.extract(parts.data, "train", skip=0)))

    features = run_plain_loop()
    largest = ((run_viewfinder() - features).abs().max() / features.abs().max()).item()
    rates = [(COUNT / measure_seconds(run_plain_loop), COUNT / measure_seconds(run_viewfinder)) for _ in range(rounds)]
    plain_rate, ours_rate = (statistics.median(column) for column in zip(*rates, strict=True))
    gain = statistics.median(ours_rate / plain_rate for plain_rate, ours_rate in rates)
    print(
        f"the pass: {ours_rate:.1f} images/s, plain loop {plain_rate:.1f}: {gain:.2f} times; {largest:.1e} apart",
        flush=True,
    )


def measure_seconds(work: Callable[[], Any]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def measure_run(overrides: list[str], folder: Path) -> Path:
    """Run an experiment in its own process and print its time and peak memory."""
    script = "import sys; from viewfinder.cli.train import main; main()"
    started = time.perf_counter()
    child = subprocess.Popen([sys.executable, "-c", script, *overrides, f"run_dir={folder}"], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    seconds = time.perf_counter() - started
    assert status == 0
    facts = read_json(folder / "run.json")
    features, epoch = facts["features"], statistics.median(facts["epoch_seconds"])
    comparison = ""
    if features and features["computed"]:
        comparison = f"{seconds / features['seconds']:.3f} times the pass of {features['seconds']:.1f} s, "
    peak = usage.ru_maxrss / 2**20
    print(f"{folder.name}: {seconds:.1f} s, {comparison}an epoch {epoch:.2f} s, peak {peak:.2f} GiB", flush=True)
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", type=Path)
    parser.add_argument("--weights", type=Path, help="weights of ResNet-50 (default: random)")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=5, help="rounds of the pass alone; 0 skips it")
    args = parser.parse_args()
    root = Path(tempfile.mkdtemp(prefix="features-"))
    os.environ["XDG_CACHE_HOME"] = str(root / "cache")
    overrides = ["model=resnet50", "data=image_folder", f"data.root={args.pictures}", "trainer=cpu"]
    overrides += ["trainer.precision=32-true", f"model.weights={args.weights or 'null'}"]
    if args.rounds:
        measure_pass(overrides, args.rounds)
    long, short = (f"trainer.max_epochs={count}" for count in (args.epochs, min(args.epochs, 3)))
    runs = [measure_run([*overrides, long], root / name) for name in ("computed", "found")]
    runs.append(measure_run([*overrides, short, "model.cache_features=false"], root / "plain"))
    losses = [pd.read_csv(run / "metrics.csv")["val/loss"] for run in runs]
    print(f"val/loss differs from the plain run's by up to {(losses[0] - losses[2]).abs().max():.1e}; {root}")


if __name__ == "__main__":
    main()
