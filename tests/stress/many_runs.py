"""Leak check: many short runs, one after another, in one process.

    python tests/stress/many_runs.py --count 300

Prints memory, open files, threads and child processes after the first 20 runs and after the last. The exit code is 1 if
memory has grown by 5% or more, or any of the other counts has changed.
"""

import argparse
import contextlib
import io
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from conftest import paint

from viewfinder.config.overrides import compose_config
from viewfinder.experiment.run import run_experiment

FIRST = 20
SETTINGS = (
    ["model=simple_cnn"],
    ["model=custom_cnn", "model.widths=[4,8]", "model.hidden=[16]", "augment=basic", "augment.padding=1"],
    ["model=mlp", "model.widths=[8]", "data.storage=stream", "data.workers=1"],
)


class Resources(NamedTuple):
    memory: int
    """bytes, resident"""
    files: int
    threads: int
    children: int


def measure_resources() -> Resources:
    process = psutil.Process()
    return Resources(process.memory_info().rss, process.num_fds(), process.num_threads(), len(process.children()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=300, help="number of runs (default: 300)")
    count = parser.parse_args().count
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CACHE_HOME"] = str(Path(folder) / "cache")
        shared = [
            "data=image_folder", f"data.root={paint(Path(folder) / 'pictures', seed=1)}", "data.batch_size=8",
            "model.image_size=8", "trainer=cpu", "trainer.threads=1", "trainer.precision=32-true",
            "trainer.max_epochs=1", "trainer.progress_bar=false", f"run_dir={folder}/run",
        ]  # fmt: skip
        early = measure_resources()
        for number in range(count):
            with contextlib.redirect_stdout(io.StringIO()):
                run_experiment(compose_config([*shared, *SETTINGS[number % len(SETTINGS)]]))
            shutil.rmtree(Path(folder) / "run")
            if number + 1 == min(FIRST, max(count - 1, 1)):
                early = measure_resources()
        late = measure_resources()
    growth = late.memory / early.memory - 1
    print(f"memory {early.memory / 2**20:.0f} MiB, after {count} runs {late.memory / 2**20:.0f} MiB ({growth:+.1%})")
    for name in ("files", "threads", "children"):
        print(f"{name} {getattr(early, name)}, then {getattr(late, name)}")
    raise SystemExit(growth >= 0.05 or late[1:] != early[1:])


if __name__ == "__main__":
    main()
