"""Measure what augmentations cost, or show what they do.

    python bench/augment.py                             each choice of conf/augment, in percent of a training step
    python bench/augment.py crop cutout --batch-size 512
    python bench/augment.py --figure augmentations.png  each choice on a few images

Steps and augmentations run in turn on one thread, and the median of each one's CPU time counts. Images are noise of
32x32, or for --figure drawings.
"""

import argparse
import functools
import statistics
import time
from collections.abc import Callable
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
COLORS = (
    ((40, 90, 160), (90, 140, 165)), ((50, 110, 40), (130, 150, 80)),
    ((190, 150, 110), (245, 225, 200)), ((120, 30, 20), (190, 80, 60)),
)  # fmt: skip
"""Darkest and brightest colour of sky, ground, walls and roofs."""


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

    originals = draw_scenes()
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


def draw_scenes(side: int = 64, count: int = 5) -> Tensor:
    """Draw houses in landscapes, (count, 3, side, side) uint8."""
    import numpy as np
    from PIL import Image, ImageDraw

    rng, scale = np.random.default_rng(4), 4
    size = side * scale  # drawn larger and reduced, for smooth edges
    scenes = []
    for _ in range(count):
        sky, ground, walls, roof = (tuple(map(int, rng.integers(low, high))) for low, high in COLORS)
        light = np.linspace(0, 90, size)[:, None, None]  # the sky is brighter towards the horizon
        levels = np.broadcast_to(np.clip(np.array(sky) + light, 0, 255), (size, size, 3)).astype(np.uint8)
        scene = Image.fromarray(levels)
        draw, middle = ImageDraw.Draw(scene), int(size * rng.uniform(0.55, 0.7))
        left, width = int(size * rng.uniform(0.1, 0.4)), int(size * rng.uniform(0.35, 0.5))
        top, floor = middle - width // 2, middle + width // 3
        sun = int(size * rng.uniform(0.6, 0.8))
        draw.ellipse((sun, size // 12, sun + size // 6, size // 4), fill=(255, 225, 90))
        draw.polygon([(0, middle), (size // 2, int(size * 0.3)), (size, middle)], fill=(96, 110, 140))
        draw.rectangle((0, middle, size, size), fill=ground)
        draw.rectangle((left, top, left + width, floor), fill=walls)
        draw.polygon([(left - 20, top), (left + width // 2, top - width // 2), (left + width + 20, top)], fill=roof)
        draw.rectangle((left + width // 8, top + width // 5, left + width // 3, top + width // 2), fill=(40, 60, 90))
        draw.rectangle((left + width // 2, top + width // 4, left + 3 * width // 4, floor), fill=(90, 50, 30))
        scenes.append(np.asarray(scene.resize((side, side))))
    return torch.from_numpy(np.stack(scenes)).permute(0, 3, 1, 2)


if __name__ == "__main__":
    main()
