"""Many steps in one call by Lightning are the very steps that Lightning takes one by one."""

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import pytorch_lightning as pl
import torch
from conftest import Train
from torch import Tensor

from viewfinder.config.overrides import compose_config
from viewfinder.data.batches import Batch, Chunk
from viewfinder.data.module import ImageData
from viewfinder.data.preprocess import get_preprocess
from viewfinder.data.seeding import derive_seed, seed_everything, seed_torch
from viewfinder.experiment.build import build_classifier, build_network, open_data
from viewfinder.runs.folder import RunFolder
from viewfinder.training.classifier import Classifier
from viewfinder.training.trainer import quiet_lightning

DROPOUT = ["model=custom_cnn", "model.widths=[4,8]", "model.hidden=[16]", "augment=basic", "augment.padding=1"]


def tensors_in(value: Any, path: str = "") -> dict[str, Tensor]:
    if isinstance(value, Tensor):
        return {path: value}
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list | tuple) else ()
    return {name: tensor for key, inner in items for name, tensor in tensors_in(inner, f"{path}/{key}").items()}


def assert_same_bits(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> None:
    assert list(ours) == list(theirs)
    assert [name for name, value in ours.items() if not torch.equal(value, theirs[name])] == []


@pytest.mark.parametrize("scheduler", ["none", "one_cycle", "plateau"])
def test_chunks_of_any_size_give_the_same_bits(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheduler: str
) -> None:
    runs: dict[int, RunFolder] = {}
    for chunk in (1, 3, 50):
        monkeypatch.setattr(ImageData, "chunk_size", chunk)
        settings = ["data.batch_size=4", "trainer.max_epochs=3", f"scheduler={scheduler}"]
        runs[chunk] = train(tmp_path / str(chunk), *DROPOUT, *settings, "trainer.accumulate_grad_batches=3")
    for chunk in (3, 50):
        assert runs[chunk].metrics.read_bytes() == runs[1].metrics.read_bytes()
        assert runs[chunk].predictions.read_bytes() == runs[1].predictions.read_bytes()
        assert runs[chunk].scores.read_bytes() == runs[1].scores.read_bytes()
        for name in ("best.ckpt", "last.ckpt"):
            ours, theirs = (torch.load(runs[each].path / name, weights_only=True) for each in (chunk, 1))
            assert_same_bits(tensors_in(ours["state_dict"]), tensors_in(theirs["state_dict"]))
            assert_same_bits(tensors_in(ours["optimizer_states"]), tensors_in(theirs["optimizer_states"]))
            assert ours["global_step"] == theirs["global_step"]
            assert ours["lr_schedulers"] == theirs["lr_schedulers"]
            assert ours["epoch"] == theirs["epoch"]


class Automatic(pl.LightningModule):
    """The same network, loss and optimizer trained as Lightning's documentation does it, a batch a step."""

    def __init__(self, classifier: Classifier, steps: int):
        super().__init__()
        self.classifier, self.steps = classifier, steps

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        seed_everything(self.classifier.seed, "step", self.current_epoch, batch.number)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        return self.classifier.loss(self.classifier(batch.pixels), batch.labels)

    def configure_optimizers(self) -> Any:
        assert self.classifier.make_optimizer is not None
        optimizer = self.classifier.make_optimizer(self.classifier.network.parameters())
        assert self.classifier.make_schedule is not None
        return {"optimizer": optimizer, "lr_scheduler": self.classifier.make_schedule(optimizer, self.steps)}


class Batches:
    """Single batches of the trainer's epoch."""

    def __init__(self, data: ImageData, trainer: pl.Trainer):
        self.data, self.trainer = data, trainer

    def __len__(self) -> int:
        return len(self.data.training_order().batch_numbers)

    def __iter__(self) -> Iterator[Batch]:
        order = self.data.training_order()
        order.set_epoch(self.trainer.current_epoch)
        return iter([batch for part in order for batch in Chunk(self.data.images["train"], part)])


@pytest.mark.parametrize(
    ("accumulate", "clip", "algorithm"),
    [(1, None, "norm"), (3, None, "norm"), (1, 0.1, "norm"), (2, 0.1, "norm"), (2, 0.01, "value")],
)
def test_the_loop_ends_with_the_weights_that_lightnings_own_ends_with(
    train: Train, tiny: list[str], tmp_path: Path, accumulate: int, clip: float | None, algorithm: str
) -> None:
    # Without augmentation, which ImageData applies to chunks alone.
    settings = [*DROPOUT[:3], "data.batch_size=4", "scheduler=cosine", "trainer.max_epochs=3", "optimizer.fused=false"]
    settings += ["trainer.precision=32-true"]
    loop = [f"trainer.accumulate_grad_batches={accumulate}", f"trainer.gradient_clip_val={clip or 'null'}"]
    loop.append(f"trainer.gradient_clip_algorithm={algorithm}")
    run = train(tmp_path / "run", *settings, *loop)
    quiet_lightning()
    cfg = compose_config([*tiny, *settings])
    data = open_data(cfg)
    seed_everything(cfg.seed, "weights")
    network = build_network(cfg, data.in_channels, len(data.class_names))
    data.load(get_preprocess(network).image_size)
    classifier = build_classifier(cfg, network, data.summarise()["class_counts"])
    batches = len(data.training_order().batch_numbers)
    module = Automatic(classifier, -(-batches // accumulate) * 3)
    trainer = pl.Trainer(
        max_epochs=3, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, accumulate_grad_batches=accumulate, gradient_clip_val=clip,
        gradient_clip_algorithm=algorithm,
    )  # fmt: skip
    trainer.fit(module, Batches(data, trainer))
    stored = torch.load(run.last, weights_only=True)
    assert stored["global_step"] == trainer.global_step == -(-batches // accumulate) * 3
    assert_same_bits(
        {name.removeprefix("network."): value for name, value in stored["state_dict"].items()},
        dict(classifier.network.state_dict()),
    )


Formula = Callable[[int, int], float]


@pytest.mark.parametrize(
    ("scheduler", "rate"),
    [
        ("cosine", lambda step, total: 0.5e-3 * (1 + math.cos(math.pi * step / total))),
        ("step scheduler.every=1", lambda step, total: 1e-3 * 0.1 ** (step // (total // 3))),
        ("none", lambda step, total: 1e-3),
    ],
)
def test_the_learning_rate_in_metrics_csv_is_that_of_the_epochs_last_step(
    train: Train, tmp_path: Path, scheduler: str, rate: Formula
) -> None:
    words = f"scheduler={scheduler}".split()
    run = train(tmp_path / "run", "data.batch_size=5", "trainer.max_epochs=3", *words)
    total = 6 * 3  # 30 pictures in batches of 5
    expected = [rate(total // 3 * epoch - 1, total) for epoch in (1, 2, 3)]
    np.testing.assert_allclose(pd.read_csv(run.metrics)["lr"], expected, rtol=1e-5)


def test_torchs_numbers_follow_from_seed_epoch_and_batch_whatever_else_is_seeded() -> None:
    drawn = []
    for seed in (seed_everything, seed_torch, lambda *purpose: torch.manual_seed(derive_seed(*purpose))):
        seed(3, "step", 1, 7)
        drawn.append(torch.rand(5).tolist())
    assert drawn[0] == drawn[1] == drawn[2]


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_without_a_gpu_no_step_looks_for_one(train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[int] = []

    def look() -> int:
        looks.append(1)
        return -1  # there is no such library

    monkeypatch.setattr(torch.cuda, "_device_count_nvml", look)
    counts = []
    for epochs in (1, 3):
        monkeypatch.setenv("PYTORCH_NVML_BASED_CUDA_CHECK", "1")  # as Lightning does when it is imported
        looks.clear()
        train(tmp_path / str(epochs), f"trainer.max_epochs={epochs}")
        counts.append(len(looks))
    assert counts[0] == counts[1] > 0
