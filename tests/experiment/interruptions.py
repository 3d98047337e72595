"""Start a run, interrupt it by a signal, and see how far its checkpoint is."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

from viewfinder.config.overrides import compose_config
from viewfinder.experiment.run import run_experiment
from viewfinder.runs.checkpoints import read_checkpoint


def start_run(typed: list[str]) -> None:
    """Run an experiment with these overrides."""
    run_experiment(compose_config(typed), overrides=typed)


def send_signal(*names: str) -> Callable[[], None]:
    """Return a function that sends this process some signals, one after another."""

    def act() -> None:
        for name in names:
            os.kill(os.getpid(), getattr(signal, name))
            time.sleep(0.01)  # until Python hands it out

    return act


def read_steps(folder: Path) -> int:
    """Return the steps in a run's last checkpoint, 0 if there is none."""
    return read_checkpoint(folder / "last.ckpt")["loop"]["steps"] if (folder / "last.ckpt").exists() else 0
