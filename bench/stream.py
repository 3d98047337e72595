"""A folder of pictures that is never held in memory: how fast it is trained on, and how much memory that takes.

    python bench/stream.py --pictures 100000

Writes JPEG files of noise and colour to a temporary folder, decodes all of them once on every core without doing
anything with them, then trains a small perceptron on them for three epochs with data.storage=stream; in turn, and says
the ratio of both rates, and the largest memory of the training process and its readers in each epoch. The smaller the
pictures (--side), the more of the cores' time is training's own.
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


def write(folder: Path, side: int, numbers: range) -> None:
    rng = np.random.default_rng(numbers.start)
    for number in numbers:
        label = number % CLASSES
        small = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        small[..., label % 3] //= 2
        picture = Image.fromarray(small).resize((side, side), Image.Resampling.BICUBIC)
        picture.save(folder / str(label) / f"{number:06}.jpg", quality=85)


def count_decoded(paths: list[Path]) -> int:
    import torch

    from viewfinder.data.decode import decode_some

    torch.set_num_threads(1)
    return sum(isinstance(found, torch.Tensor) for found in decode_some(paths, 3, (32, 32)))


def merely_decode(paths: list[Path], cores: int) -> float:
    """Pictures a second by one process a core."""
    with ProcessPoolExecutor(cores) as pool:
        list(pool.map(count_decoded, [paths[:64]] * cores))  # they have started, and imported what they need
        started = time.perf_counter()
        list(pool.map(count_decoded, [paths[at : at + 500] for at in range(0, len(paths), 500)]))
        return len(paths) / (time.perf_counter() - started)


class Watch(threading.Thread):
    """The memory of this process and its children, in MB, every half second: what they share counts once."""

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
    """Seconds of each epoch, and the largest memory in each, in MB; in the last, of what follows too."""
    from viewfinder.config.overrides import compose_config
    from viewfinder.experiment.run import run_experiment

    watch = Watch()
    watch.start()
    with tempfile.TemporaryDirectory() as folder:
        run_experiment(compose_config([
            "model=mlp", "model.widths=[32]", "data=image_folder", f"data.root={root}", "data.storage=stream",
            "data.val_fraction=0.01", "data.test_fraction=0.01", "trainer=cpu", f"trainer.max_epochs={epochs}",
            "trainer.precision=32-true", "trainer.threads=1", f"run_dir={folder}/run",
        ]))  # fmt: skip
        ended = time.perf_counter()
        seconds = json.loads((Path(folder) / "run" / "run.json").read_text())["epoch_seconds"]
    watch.stopped.set()
    memory = []
    for number in range(epochs):
        until = ended - sum(seconds[number + 1 :])
        inside = [megabytes for at, megabytes in watch.samples if until - seconds[number] <= at <= until]
        memory.append(max(inside, default=0.0))
    return seconds, memory


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=100_000)
    parser.add_argument("--side", type=int, default=256, help="of a picture, in pixels")
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
            list(pool.map(write, [root] * len(parts), [args.side] * len(parts), parts))
        paths = sorted(root.rglob("*.jpg"))
        decoding, training, memory = [], [], []
        for _ in range(args.rounds):
            decoding.append(merely_decode(paths, cores))
            seconds, memory = train(root, 3)
            training.append(len(paths) * 0.99 / seconds[-1])
            print(f"decoding {decoding[-1]:.0f}/s, training {training[-1]:.0f}/s, memory {said(memory)}", flush=True)
    ratio = statistics.median(b / a for a, b in zip(decoding, training, strict=True))
    print(f"{len(paths):,} pictures: training at {ratio:.0%} of the rate of merely decoding; memory {said(memory)}")


def said(memory: list[float]) -> str:
    return ", ".join(f"{each:.0f}" for each in memory) + " MB"


if __name__ == "__main__":
    main()
