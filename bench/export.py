"""Images per second of an exported ONNX file in ONNX Runtime, compared with its run in torch.

    python bench/export.py RUN [--threads 1]

Exports the run into a temporary folder, then measures both in turn, several rounds at batch sizes 1 and 64, on images
of the size that the network expects; the medians are printed. Both compute the whole way from uint8 to probabilities.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import onnxruntime
import torch

from viewfinder.data.resize import Resize
from viewfinder.experiment.export.run import export_run
from viewfinder.experiment.load import open_run

ROUNDS = 9
SECONDS = 0.5
"""Duration of one measurement."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    run = open_run(arguments.run, [], "best", accelerator="cpu")
    torch.set_num_threads(arguments.threads)
    channels, size = run.picture_shape
    resize = Resize.from_size(size)
    with tempfile.TemporaryDirectory() as folder:
        exported = export_run(run, Path(folder) / "model.onnx", "onnx", "best")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = arguments.threads
        session = onnxruntime.InferenceSession(exported.path, options, providers=["CPUExecutionProvider"])
    print(f"largest difference of a probability {exported.comparison.largest_difference:.2g}")
    for batch_size in (1, 64):
        images = torch.randint(0, 256, (batch_size, channels, resize.height, resize.width), dtype=torch.uint8)
        array = images.numpy()
        ways: dict[str, Callable[[], object]] = {
            "run in torch": lambda images=images: run.logits(images).softmax(1),
            "ONNX Runtime": lambda array=array: session.run(None, {"images": array}),
        }
        rates: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(ROUNDS):
            for name, predict in ways.items():
                rates[name].append(batch_size * measure(predict))
        medians = {name: statistics.median(values) for name, values in rates.items()}
        shown = ", ".join(f"{name} {median:,.0f} images/s" for name, median in medians.items())
        print(f"batch {batch_size:2}: {shown}, {medians['ONNX Runtime'] / medians['run in torch']:.2f} times")


def measure(predict: Callable[[], object]) -> float:
    """Return calls per second."""
    predict()
    calls, started = 0, time.perf_counter()
    while time.perf_counter() - started < SECONDS:
        predict()
        calls += 1
    return calls / (time.perf_counter() - started)


if __name__ == "__main__":
    main()
