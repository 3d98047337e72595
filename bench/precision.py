"""Compare a training step in bf16-mixed with one in 32-true, for the table in src/viewfinder/training/precision.py.

    python bench/precision.py                       every shipped network; some ten minutes on two cores
    python bench/precision.py SimpleCNN resnet50    only these architectures

Prints how many times as fast a step in bf16-mixed is: steps of both precisions in turn, the median of each.
"""

import argparse
import statistics
import time
from pathlib import Path

import torch

from viewfinder.config.overrides import compose_config
from viewfinder.data.preprocess import get_preprocess
from viewfinder.experiment.build import build_network
from viewfinder.models.summary import get_architecture
from viewfinder.training.precision import BF16, FP32, forward_context, step_context

CONF = Path(__file__).resolve().parents[1] / "conf" / "model"
IMAGES = {32: 32, 224: 8, 299: 4}
"""Side of the images -> images per batch."""
SECONDS, MIN_PAIRS = 20.0, 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("architectures", nargs="*")
    selected = parser.parse_args().architectures
    for path in sorted(CONF.glob("*.yaml")):
        text = path.read_text("utf-8")
        if "???" in text:  # any network of timm
            continue
        overrides = ["model.weights=null", "model.freeze=false"] if "weights:" in text else []
        network = build_network(compose_config([f"model={path.stem}", *overrides]), 3, 10)
        if not selected or get_architecture(network) in selected:
            print(f"{get_architecture(network):20} {measure_speedup(network):.2f}", flush=True)


def measure_speedup(network: torch.nn.Module) -> float:
    """Return the median seconds of a step in 32-true divided by those in bf16-mixed."""
    network = network.train().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    side = get_preprocess(network).image_size or 32
    count = IMAGES[side]
    images = torch.rand(count, 3, side, side).to(memory_format=torch.channels_last)
    labels = torch.randint(10, (count,))
    optimizer = torch.optim.Adam(network.parameters(), 1e-4, fused=True)

    def run_step(precision: str) -> float:
        started = time.perf_counter()
        with step_context(precision):
            with forward_context(precision, images.device):
                loss = torch.nn.functional.cross_entropy(network(images), labels)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        return time.perf_counter() - started

    for precision in (FP32, BF16):  # libraries initialise
        run_step(precision)
    pairs, started = [], time.perf_counter()
    while len(pairs) < MIN_PAIRS or time.perf_counter() - started < SECONDS:
        pairs.append((run_step(FP32), run_step(BF16)))
    exact, fast = (statistics.median(seconds) for seconds in zip(*pairs, strict=True))
    return exact / fast


if __name__ == "__main__":
    main()
