"""Training speed and memory with a folder of images that is streamed rather than stored in memory.

    python bench/stream.py --pictures 100000

Writes random JPEG files to a temporary folder. Then, in turn, decodes all of them on every core, and trains a small
perceptron on them for three epochs with data.storage=stream. Prints the ratio of both rates, and the peak memory of the
training process and its workers in each epoch. With smaller images (--side) training takes a larger share of the time.
"""

import argparse
import json
import os
import statistics
import tempfile
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import psutil
from PIL import Image

CLASSES = 4


def write_images(folder: Path, side: int, numbers: range) -> None:
    rng = np.random.default_rng(numbers.start)
    for number in numbers:
        label = number % CLASSES
        small = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        small[..., label % 3] //= 2
        image = Image.fromarray(small).resize((side, side), Image.Resampling.BICUBIC)
        image.save(folder / str(label) / f"{number:06}.jpg", quality=85)


def count_decoded(paths: list[Path]) -> int:
    import torch

    from viewfinder.data.decode import decode_images

    torch.set_num_threads(1)
    return sum(isinstance(image, torch.Tensor) for image in decode_images(paths, 3, (32, 32)))


def measure_decoding(paths: list[Path], cores: int) -> float:
    """Return images a second decoded by one process on each core."""
    with ProcessPoolExecutor(cores) as pool:
        list(pool.map(count_decoded, [paths[:64]] * cores))  # starts the processes and their imports
        started = time.perf_counter()
        list(pool.map(count_decoded, [paths[start : start + 500] for start in range(0, len(paths), 500)]))
        return len(paths) / (time.perf_counter() - started)


class MemorySampler(threading.Thread):
    """Sampler of the memory in MB of this process and its children; shared pages count once."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.samples: list[tuple[float, float]] = []
        self.stopped = threading.Event()

    def run(self) -> None:
        me = psutil.Process()
        while not self.stopped.wait(0.5):
            total = 0
            for process in [me, *me.children(recursive=True)]:
                try:
                    total += process.memory_full_info().pss
                except psutil.Error:
                    continue
            self.samples.append((time.perf_counter(), total / 2**20))


def train(root: Path, epochs: int) -> tuple[list[float], list[float]]:
    """Return the seconds and the peak memory in MB of each epoch; the last includes what follows it."""
    from viewfinder.config.overrides import compose_config
    from viewfinder.experiment.run import run_experiment

    sampler = MemorySampler()
    sampler.start()
    with tempfile.TemporaryDirectory() as folder:
        run_experiment(compose_config([
            "model=mlp", "model.widths=[32]", "data=image_folder", f"data.root={root}", "data.storage=stream",
            "data.val_fraction=0.01", "data.test_fraction=0.01", "trainer=cpu", f"trainer.max_epochs={epochs}",
            "trainer.precision=32-true", "trainer.threads=1", f"run_dir={folder}/run",
        ]))  # fmt: skip
        ended = time.perf_counter()
        seconds = json.loads((Path(folder) / "run" / "run.json").read_text())["epoch_seconds"]
    sampler.stopped.set()
    memory = []
    for number in range(epochs):
        end = ended - sum(seconds[number + 1 :])
        inside = [megabytes for time_point, megabytes in sampler.samples if end - seconds[number] <= time_point <= end]
        memory.append(max(inside, default=0.0))
    return seconds, memory


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=100_000)
    parser.add_argument("--side", type=int, default=256, help="side of an image in pixels")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    cores = os.cpu_count() or 1
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        for label in range(CLASSES):
            (root / str(label)).mkdir()
        with ProcessPoolExecutor(cores) as pool:
            step = -(-args.pictures // (4 * cores))
            parts = [range(start, min(start + step, args.pictures)) for start in range(0, args.pictures, step)]
            list(pool.map(write_images, [root] * len(parts), [args.side] * len(parts), parts))
        paths = sorted(root.rglob("*.jpg"))
        decoding, training, memory = [], [], []
        for _ in range(args.rounds):
            decoding.append(measure_decoding(paths, cores))
            seconds, memory = train(root, 3)
            training.append(len(paths) * 0.99 / seconds[-1])
            print(
                f"decoding {decoding[-1]:.0f}/s, training {training[-1]:.0f}/s, memory {format_memory(memory)}",
                flush=True,
            )
    ratio = statistics.median(b / a for a, b in zip(decoding, training, strict=True))
    print(
        f"{len(paths):,} images: training at {ratio:.0%} of the rate of decoding alone; memory {format_memory(memory)}"
    )


def format_memory(memory: list[float]) -> str:
    return ", ".join(f"{megabytes:.0f}" for megabytes in memory) + " MB"


if __name__ == "__main__":
    main()
