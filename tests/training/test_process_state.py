"""A training from Python leaves the program that called it as it was."""

import logging
import os
import random
import warnings
from pathlib import Path

import numpy as np
import pytest
import pytorch_lightning  # noqa: F401  # sets an environment variable, which training removes
import torch
from conftest import Train


def read_state() -> list[object]:
    loggers = [logging.getLogger(name) for name in ("viewfinder", "pytorch_lightning", "lightning_fabric")]
    return [
        torch.get_num_threads(), torch.are_deterministic_algorithms_enabled(), dict(os.environ), warnings.filters[:],
        [(logger.level, logger.propagate, logger.handlers[:]) for logger in loggers],
    ]  # fmt: skip


def test_a_training_restores_threads_logging_and_the_environment(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("viewfinder"), "level", logging.DEBUG)
    monkeypatch.setattr(logging.getLogger("pytorch_lightning"), "level", logging.ERROR)
    before_threads = torch.get_num_threads()
    torch.set_num_threads(2)
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        before = read_state()
        train(tmp_path / "run", "trainer.max_epochs=1")
        assert read_state() == before
    finally:
        torch.use_deterministic_algorithms(False)
        torch.set_num_threads(before_threads)


def test_numbers_drawn_after_a_training_do_not_depend_on_its_seed(train: Train, tmp_path: Path) -> None:
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)
    train(tmp_path / "run", "trainer.max_epochs=1")
    assert random.random() == random.Random(1).random()
    assert np.random.rand() == np.random.RandomState(1).rand()
    assert torch.equal(torch.rand(3), torch.rand(3, generator=torch.Generator().manual_seed(1)))
