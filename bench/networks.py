"""Time of a training step of the networks for small images, and the cost of test-time augmentation and whitening.

    python bench/networks.py [NETWORK ...] [--batch 64] [--seconds 5] [--compile]

Prints for each network the milliseconds of a training step in float32, the milliseconds of the evaluation of as many
images, what the views of conf/tta add to it in percent, and the time of the initialisation from 5,000 images, in
training steps. --compile adds a training step compiled by torch.compile, in percent of an uncompiled one, without the
time to compile. Ways are measured in turn; figures are medians.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch

from viewfinder.config.instantiate import instantiate
from viewfinder.config.overrides import compose_config
from viewfinder.config.own_files import read_choice
from viewfinder.experiment.build import build_network
from viewfinder.experiment.initialize import MAX_IMAGES, METHOD
from viewfinder.models.tta import classify, set_views
from viewfinder.training.compile import CompiledNetwork

NETWORKS = ("simple_cnn", "custom_cnn", "airbench", "resnet18_cifar", "vit", "convmixer")
VIEWS = ("none", "mirror", "mirror_translate")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", default=NETWORKS)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--compile", action="store_true")
    options = parser.parse_args()
    for name in options.networks:
        print(f"{name:15} {measure(name, options.batch, options.seconds, options.compile)}", flush=True)


def measure(name: str, batch: int, seconds: float, with_compile: bool) -> str:
    """Return a line of figures of a network."""
    network = build_network(compose_config([f"model={name}"]), 3, 10)
    network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    images = torch.rand(batch, 3, 32, 32).to(memory_format=torch.channels_last)
    labels = torch.randint(10, (batch,))
    optimizer = torch.optim.Adam([p for p in network.parameters() if p.requires_grad], fused=True)

    def train(forward: Callable[[torch.Tensor], torch.Tensor]) -> None:
        network.train()
        torch.nn.functional.cross_entropy(forward(images), labels).backward()
        optimizer.step()
        optimizer.zero_grad()

    def evaluate(views: str) -> None:
        choice = read_choice("tta", views)
        set_views(network, instantiate(choice, "tta") if choice else None)
        with torch.inference_mode():
            classify(network.eval(), images)

    ways: dict[str, Callable[[], None]] = {"train": lambda: train(network)}
    if with_compile:
        compiled = CompiledNetwork(network, batch)
        ways["compiled"] = lambda: train(compiled)
    ways |= {views: lambda views=views: evaluate(views) for views in VIEWS}
    times = time_in_turn(ways, seconds)
    step, single = times["train"], times["none"]
    parts = [f"step {1e3 * step:7.1f} ms", f"evaluation {1e3 * single:6.1f} ms"]
    parts += [f"{views} {100 * (times[views] / single - 1):+.0f}%" for views in VIEWS[1:]]
    if with_compile:
        parts.append(f"compiled {100 * times['compiled'] / step:.0f}% of a step")
    if hasattr(network, METHOD):
        started, shown = time.perf_counter(), torch.rand(MAX_IMAGES, 3, 32, 32)
        getattr(network, METHOD)(shown)
        parts.append(f"initialisation {(time.perf_counter() - started) / step:.1f} steps")
    return ", ".join(parts)


def time_in_turn(ways: dict[str, Callable[[], None]], seconds: float) -> dict[str, float]:
    """Return the median seconds of each way."""
    for run in ways.values():
        run()
        run()
    times: dict[str, list[float]] = {name: [] for name in ways}
    started = time.perf_counter()
    while time.perf_counter() - started < seconds * len(ways) or len(times["train"]) < 5:
        for name, run in ways.items():
            before = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - before)
    return {name: statistics.median(values) for name, values in times.items()}


if __name__ == "__main__":
    main()
