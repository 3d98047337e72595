"""Undocumented parts of Lightning and torch are where training looks for them, and do what it needs.

A failure here after an upgrade (last seen: pytorch-lightning 2.6, torch 2.6 to 2.14) names the part that has moved.
"""

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest
import pytorch_lightning as pl
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from viewfinder.training import lightning_internals
from viewfinder.training.torch_internals import abandon_capture, has_amx, has_avx512_bf16
from viewfinder.training.trainer import quiet_lightning


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Ignore the warnings that Lightning gives about loaders without workers and about its own use of torch."""
    with warnings.catch_warnings():
        quiet_lightning()
        yield


class Module(pl.LightningModule):
    """Two batches an epoch, each with one optimizer step that is counted by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.weight = nn.Parameter(torch.zeros(()))
        self.finished: list[int] = []

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), 0.1)

    def training_step(self, batch: Any, batch_idx: int) -> None:
        for is_completed in (False, True):
            lightning_internals.count_optimizer_step(self.trainer, is_completed)

    def on_train_epoch_end(self) -> None:
        self.finished.append(lightning_internals.get_finished_epochs(self.trainer))


def make_trainer(path: Path, **arguments: Any) -> pl.Trainer:
    return pl.Trainer(
        accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, default_root_dir=path, **arguments,
    )  # fmt: skip


def fit(trainer: pl.Trainer) -> Module:
    module = Module()
    trainer.fit(module, DataLoader(TensorDataset(torch.zeros(2))))
    return module


def test_steps_that_are_counted_by_hand_are_the_global_step(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, max_epochs=3)
    assert fit(trainer).finished == [1, 2, 3]
    assert trainer.global_step == 6


def test_training_continues_after_the_restored_epochs_and_steps(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, max_epochs=5)
    lightning_internals.restore_progress(trainer, epochs=3, steps=6)
    assert fit(trainer).finished == [4, 5]
    assert trainer.global_step == 10


def test_training_without_end_stops_when_a_callback_says_so(tmp_path: Path) -> None:
    class Stop(pl.Callback):
        def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
            trainer.should_stop = trainer.current_epoch == 11

    trainer = make_trainer(tmp_path, max_epochs=1, callbacks=[Stop()])
    lightning_internals.train_without_end(trainer)
    assert fit(trainer).finished == [*range(1, 13)]


def test_data_loaders_are_requested_again_when_that_is_due(tmp_path: Path) -> None:
    class Data(pl.LightningDataModule):
        requests = 0

        def train_dataloader(self) -> Any:
            self.requests += 1
            return DataLoader(TensorDataset(torch.zeros(1)))

    class Reload(pl.Callback):
        def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
            lightning_internals.reload_data_loaders(trainer, trainer.current_epoch == 1)

    data = Data()
    make_trainer(tmp_path, max_epochs=4, callbacks=[Reload()]).fit(Module(), datamodule=data)
    assert data.requests == 2


def test_torch_reports_the_cpu_features_that_the_system_reports() -> None:
    cpuinfo = Path("/proc/cpuinfo")
    if not cpuinfo.exists():
        pytest.skip("no /proc/cpuinfo")
    flags = set(next((line for line in cpuinfo.read_text().splitlines() if line.startswith("flags")), "").split())
    assert has_avx512_bf16() == ("avx512_bf16" in flags)
    assert has_amx() == ("amx_tile" in flags)


def test_the_random_generator_of_a_failed_capture_is_reset(monkeypatch: pytest.MonkeyPatch) -> None:
    generators = (MagicMock(), MagicMock())
    assert isinstance(torch.cuda.default_generators, tuple)
    assert callable(torch.Generator.graphsafe_set_state)
    monkeypatch.setattr(torch.cuda, "default_generators", generators)
    abandon_capture(torch.device("cuda", 1))
    generators[1].graphsafe_set_state.assert_called_once_with(generators[1].clone_state())
    generators[0].graphsafe_set_state.assert_not_called()
