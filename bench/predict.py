"""Speed and memory of `viewfinder predict` on many images, compared with decoding them.

    python bench/predict.py                        100,000 images of 256 x 256
    python bench/predict.py --images 10000 --out predict.json

Writes random JPEG files to a temporary folder and trains a small network for a moment. Then, in turn, decodes all files
on every core and predicts them: the ratio of both rates, and the peak memory at a tenth of the images and at all of
them. Kills a prediction half way with SIGKILL, repeats the command, and compares the file with an uninterrupted one.
"""

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
DECODE = """
import sys, time
from pathlib import Path
from viewfinder.data.decode import FILES_PER_CALL, decode_images
from viewfinder.data.decode_parallel import map_in_threads
files = sorted(Path(sys.argv[1]).rglob("*.jpg"))
next(iter(decode_images(files[:1], 3, (32, 32))))
started = time.perf_counter()
map_in_threads(lambda part: [None for _ in decode_images(part, 3, (32, 32))], files, "decoding")
print(len(files) / (time.perf_counter() - started))
"""
PREDICT = """
import resource, sys, time
from viewfinder.cli.main import app
code = 0
try:
    app()
except SystemExit as end:
    code = end.code
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, file=sys.stderr)
sys.exit(code)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--side", type=int, default=256, help="side of an image in pixels")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        results = measure(Path(folder), args.images, args.side, args.rounds)
    print(json.dumps(results, indent=2))
    if args.out:
        args.out.write_text(json.dumps(results, indent=2) + "\n")


def measure(folder: Path, count: int, side: int, rounds: int) -> dict[str, Any]:
    """Write the images, train the network, and return all figures."""
    write_images(folder / "all", count, side)
    few = folder / "few"
    few.mkdir()
    for path in sorted((folder / "all").iterdir())[: count // 10]:
        os.link(path, few / path.name)
    run = folder / "run"
    train = ["data=digits", "data.channels=3", "model.image_size=32", "trainer.max_epochs=1", "trainer.threads=1"]
    subprocess.run([sys.executable, str(ROOT / "train.py"), *train, f"run_dir={run}"], check=True, capture_output=True)
    rates: dict[str, list[float]] = {"decode": [], "predict": []}
    seconds = memory = few_memory = 0.0
    for _ in range(rounds):
        decoded = subprocess.run(
            [sys.executable, "-c", DECODE, str(folder / "all")], check=True, capture_output=True, text=True
        )
        rates["decode"].append(float(decoded.stdout))
        seconds, memory = predict(run, folder / "all", folder / "all.csv")
        start, few_memory = predict(run, few, folder / "few.csv")
        # The difference leaves out start-up and imports, which do not grow with the images.
        rates["predict"].append((count - count // 10) / (seconds - start))
    return {
        "images": count,
        "decoded images a second": round(statistics.median(rates["decode"])),
        "predicted images a second": round(statistics.median(rates["predict"])),
        "ratio": round(statistics.median(p / d for p, d in zip(rates["predict"], rates["decode"], strict=True)), 3),
        "peak MB at a tenth": round(few_memory),
        "peak MB at all": round(memory),
        "equal after SIGKILL": kill_and_repeat(run, folder, seconds),
    }


def write_images(folder: Path, count: int, side: int) -> None:
    """Write JPEG files of smooth noise, which compress like photographs."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    coarse = [rng.integers(0, 256, (side // 8, side // 8, 3), dtype=np.uint8) for _ in range(64)]

    def write(index: int) -> None:
        image = Image.fromarray(coarse[index % 64]).resize((side, side), Image.Resampling.BICUBIC).rotate(index % 360)
        image.save(folder / f"{index:07}.jpg", quality=85)

    with ThreadPoolExecutor() as pool:
        list(pool.map(write, range(count)))


def command(run: Path, images: Path, csv: Path) -> list[str]:
    return [sys.executable, "-c", PREDICT, "predict", str(run), str(images), "--csv", str(csv)]


def predict(run: Path, images: Path, csv: Path) -> tuple[float, float]:
    """Return the seconds of a prediction and its peak memory in MB."""
    started = time.perf_counter()
    done = subprocess.run(command(run, images, csv), check=True, capture_output=True, text=True)
    return time.perf_counter() - started, float(done.stderr.split()[-1])


def kill_and_repeat(run: Path, folder: Path, seconds: float) -> bool:
    """Kill a prediction half way and repeat it; return whether the file is the same as without a kill."""
    target = folder / "killed.csv"
    words = command(run, folder / "all", target)
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(seconds / 2)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not target.exists()
    assert target.with_name("killed.csv.partial").stat().st_size
    predict(run, folder / "all", target)
    return target.read_bytes() == (folder / "all.csv").read_bytes()


if __name__ == "__main__":
    main()
