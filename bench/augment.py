"""Measure what augmentations cost, or show what they do.

    python bench/augment.py                             each choice of conf/augment, in percent of a training step
    python bench/augment.py crop cutout --batch-size 512
    python bench/augment.py --figure augmentations.png  each choice on a few images

Steps and augmentations run in turn on one thread, and the median of each one's CPU time counts. Images are noise of
32x32, or for --figure parts of scikit-learn's sample photographs.
"""

import argparse
import functools
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from viewfinder.config.overrides import compose_config
from viewfinder.config.yaml_text import to_settings
from viewfinder.data.augmentations.pipeline import Pipeline
from viewfinder.data.batches import Batch
from viewfinder.data.preprocess import Preprocess, get_preprocess
from viewfinder.experiment.augmentations import build_augmentations
from viewfinder.experiment.build import build_network
from viewfinder.training.precision import choose_precision, forward_context, step_context

CONF = Path(__file__).resolve().parents[1] / "conf" / "augment"
NETWORKS = ("simple_cnn", "custom_cnn")
SECONDS, MIN_ROUNDS = 30.0, 15
SHOWN = {"mixup": ("augment.mixup.alpha=4",), "cutout": ("augment.cutout.size=20",)}
"""Overrides for the figure, so that something is seen."""


def main() -> None:
    names = sorted(path.stem for path in CONF.glob("*.yaml") if path.stem != "none")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=names, help="choices of conf/augment")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--figure", type=Path, help="draw a figure instead")
    arguments = parser.parse_args()
    shown = SHOWN if arguments.figure else {}
    pipelines = {name: make_pipeline(name, *shown.get(name, ())) for name in arguments.names}
    if arguments.figure:
        draw_figure(pipelines, arguments.figure)
    else:
        measure(pipelines, arguments.batch_size)


def make_pipeline(name: str, *overrides: str) -> Pipeline:
    pipeline = build_augmentations(to_settings(compose_config([f"augment={name}", *overrides]))["augment"], seed=0)
    assert pipeline is not None
    return pipeline


def measure(pipelines: dict[str, Pipeline], batch_size: int) -> None:
    """Print the cost of each choice in milliseconds and in percent of a step of each network."""
    torch.set_num_threads(1)
    pixels = torch.randint(256, (batch_size, 3, 32, 32), dtype=torch.uint8)
    pixels = pixels.contiguous(memory_format=torch.channels_last)
    batch = Batch(pixels, torch.randint(10, (batch_size,)), torch.arange(batch_size), 0)
    steps = {name: Step(name, batch) for name in NETWORKS}
    for pipeline in pipelines.values():
        pipeline.preprocess = Preprocess(32)
    seconds: dict[str, list[float]] = {name: [] for name in (*steps, *pipelines)}
    started = time.perf_counter()
    while len(seconds[NETWORKS[0]]) < MIN_ROUNDS or time.perf_counter() - started < SECONDS:
        for name, step in steps.items():
            seconds[name].append(time_call(step.run))
        for name, pipeline in pipelines.items():
            numbered = batch._replace(number=len(seconds[name]))
            seconds[name].append(time_call(functools.partial(pipeline.at(0, 10), numbered)))
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    steps_text = ", ".join(f"{name} {1000 * medians[name]:.2f} ms in {step.precision}" for name, step in steps.items())
    print(f"step of {batch_size} images: {steps_text}; median of {len(seconds[NETWORKS[0]])} rounds")
    print(f"{'augment':22}{'ms':>8}" + "".join(f"{f'% of {name}':>18}" for name in steps))
    for name in pipelines:
        shares = "".join(f"{100 * medians[name] / medians[network]:18.1f}" for network in steps)
        print(f"{name:22}{1000 * medians[name]:8.3f}{shares}", flush=True)


class Step:
    """Training step of a network, in the precision that `auto` chooses on this machine."""

    def __init__(self, name: str, batch: Batch):
        network = build_network(compose_config([f"model={name}"]), 3, 10)
        self.network = network.train().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.precision, _ = choose_precision(network, torch.device("cpu"))
        self.preprocess, self.batch = get_preprocess(network), batch
        self.optimizer = torch.optim.Adam(network.parameters(), fused=True)

    def run(self) -> None:
        with step_context(self.precision):
            with forward_context(self.precision, torch.device("cpu")):
                logits = self.network(self.preprocess(self.batch.pixels))
                loss = nn.functional.cross_entropy(logits, self.batch.labels)
            loss.backward()
            self.optimizer.step()
            self.optimizer.zero_grad()


def time_call(call: Callable[[], object]) -> float:
    started = time.process_time()
    call()
    return time.process_time() - started


def draw_figure(pipelines: dict[str, Pipeline], path: Path) -> None:
    """Draw a row of images for each choice, in two epochs; the first row has the originals."""
    import matplotlib

    matplotlib.use("Agg")
    import numpy as np
    from matplotlib import pyplot
    from PIL import Image

    originals = load_photographs()
    rows: list[tuple[str, list[Tensor]]] = [("none", [*originals, *originals])]
    numbers = torch.arange(len(originals))
    for name, pipeline in pipelines.items():
        pipeline.preprocess = Preprocess(originals.shape[-1], (0.45,))
        batch = Batch(originals.contiguous(memory_format=torch.channels_last), numbers, numbers, 0)
        rows.append((name, [image for epoch in (0, 1) for image in pipeline.at(epoch, 4)(batch).pixels]))
    figure, axes = pyplot.subplots(len(rows), 2 * len(originals), figsize=(11, 1.02 * len(rows)), dpi=70, squeeze=False)
    for (name, images), cells in zip(rows, axes, strict=True):
        cells[0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=11)
        for image, cell in zip(images, cells, strict=True):
            cell.imshow(image.permute(1, 2, 0), interpolation="nearest")
            cell.set_xticks([])
            cell.set_yticks([])
            cell.spines[:].set_visible(False)
    for epoch in (0, 1):
        axes[0][epoch * len(originals)].set_title(f"epoch {epoch + 1}", fontsize=11, loc="left")
    figure.subplots_adjust(left=0.17, right=0.995, top=0.97, bottom=0.005, wspace=0.06, hspace=0.06)
    figure.canvas.draw()
    image = Image.fromarray(np.asarray(figure.canvas.buffer_rgba())).convert("RGB")  # type: ignore[attr-defined]
    image.quantize(128).save(path, optimize=True)


def load_photographs(side: int = 64, count: int = 5) -> Tensor:
    """Return parts of scikit-learn's photographs, (count, 3, side, side) uint8."""
    from PIL import Image
    from sklearn.datasets import load_sample_images

    china, flower = (Image.fromarray(array) for array in load_sample_images().images)
    boxes: Sequence[tuple[Image.Image, tuple[int, int, int, int]]] = (
        (china, (0, 60, 360, 420)), (flower, (140, 0, 560, 420)), (china, (280, 40, 620, 380)),
        (flower, (200, 60, 400, 260)), (china, (330, 160, 500, 330)),
    )  # fmt: skip
    parts = [image.resize((side, side), box=box) for image, box in boxes[:count]]
    return (
        torch.stack([torch.frombuffer(bytearray(part.tobytes()), dtype=torch.uint8) for part in parts])
        .view(-1, side, side, 3)
        .permute(0, 3, 1, 2)
    )


if __name__ == "__main__":
    main()
