"""Seconds from a command to its answer, compared with the imports that it needs.

    python bench/startup.py

Measures in turn, five times: `import hydra`, --help and a misspelt override; `import pytorch_lightning` and the first
optimizer step on scikit-learn's digits.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROUNDS = 5
TRAIN = Path(__file__).resolve().parents[1] / "train.py"
FIRST = """
import os
import torch

class First(torch.optim.SGD):
    def step(self, closure=None):
        super().step(closure)
        os._exit(0)
"""


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "conf" / "optimizer").mkdir(parents=True)
        (Path(folder) / "conf" / "optimizer" / "first.yaml").write_text("_target_: first.First\nlr: 0.1\n")
        (Path(folder) / "first.py").write_text(FIRST)
        commands = {
            "import hydra": ["-c", "import hydra"],
            "--help": [TRAIN, "--help"],
            "a misspelt override": [TRAIN, "optimizer.lrr=1"],
            "import pytorch_lightning": ["-c", "import pytorch_lightning"],
            "the first step": [TRAIN, "data=digits", "trainer.accelerator=cpu", "optimizer=first"],
        }
        seconds: dict[str, list[float]] = {name: [] for name in commands}
        for number in range(ROUNDS + 1):
            for name, arguments in commands.items():
                started = time.perf_counter()
                command = [sys.executable, *map(str, arguments)]
                environment = {**os.environ, "XDG_CACHE_HOME": folder}
                completed = subprocess.run(
                    command, cwd=folder, env=environment, capture_output=True, text=True, check=False
                )
                assert completed.returncode == (2 if "misspelt" in name else 0), completed.stderr
                if number:  # the first round fills the file caches
                    seconds[name].append(time.perf_counter() - started)
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    for name, median in medians.items():
        print(f"{name:26} {median:6.2f} s")
    for name in ("--help", "a misspelt override", "the first step"):
        reference = "import pytorch_lightning" if name == "the first step" else "import hydra"
        print(f"{name}: {medians[name] / medians[reference]:.2f} times {reference}")


if __name__ == "__main__":
    main()
