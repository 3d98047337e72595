"""A learning-rate range test: train while the learning rate grows, and see over which rates the loss falls."""

import contextlib
import logging
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytorch_lightning as pl
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.callbacks import Callback
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR
from tqdm import tqdm

from viewfinder.config.instantiate import instantiate
from viewfinder.config.phases import read_phases
from viewfinder.errors import Problem, Stopped, UserError, join_names
from viewfinder.evaluation.lr_curve import Curve, Finding, is_diverged, propose_rate, smooth_losses
from viewfinder.experiment.build import check_config
from viewfinder.experiment.failures import explained
from viewfinder.experiment.run import prepare, settle
from viewfinder.reporting.charts.files import save_figure
from viewfinder.reporting.charts.lr_curve import draw_lr_curve
from viewfinder.reporting.range_test import log_finding
from viewfinder.runs.atomic import make_write_error, replace_text, write_json
from viewfinder.runs.logging import logging_to
from viewfinder.runs.naming import make_dated_folder, make_folder
from viewfinder.runs.provenance import describe_process, now, read_command, read_git_state, read_versions
from viewfinder.training.callbacks.progress import Progress
from viewfinder.training.callbacks.signals import Signals
from viewfinder.training.hardware import HardwareSettings
from viewfinder.training.lightning_internals import train_without_end
from viewfinder.training.schedulers import Schedule
from viewfinder.training.trainer import EarlyStopping

log = logging.getLogger("viewfinder")


def run_range_test(cfg: DictConfig, rates: np.ndarray, overrides: Sequence[str] = ()) -> Finding:
    """Train a new network with one learning rate after another until the loss diverges, and propose one of them.

    What is trained, on which batches, and with what augmentation, precision, clipping and accumulation, is as in
    `run_experiment`; the schedule alone is left out, and there is no validation. The weights are not kept. From Smith
    2017, "Cyclical Learning Rates for Training Neural Networks" (arXiv 1506.01186), section 3.3; that the learning rate
    grows exponentially, from fastai's lr_find.

    Args:
        cfg: the resolved configuration, as conf/ composes it.
        rates: (n,) rising, what `optimizer.lr` is in each step of the optimizer; parameter groups keep their ratios.
        overrides: what was typed to get this configuration.

    Returns:
        What was found, which a new folder explains: lr_range.png, lr_range.csv, lr_range.json and config.yaml.

    Raises:
        UserError: for whatever a person can mend; no file is left then.
        Stopped: after a signal; no file is left then.
    """
    started = now()
    check_config(cfg)
    check_testable(cfg)
    with Signals() as signals, logging_to(None), explained():
        parts = prepare(cfg)
        with new_folder(cfg) as folder:
            recorder = RangeRecorder(rates, signals, cfg.trainer.get("progress_bar", False))
            trainer = endless_trainer(cfg, recorder)
            hardware = settle(cfg, parts, trainer)
            if cfg.scheduler:
                log.info(f"schedule {cfg.scheduler._target_} is left out: here the learning rate grows")
            parts.data.chunk_size = 1  # or training could be stopped after every fiftieth batch alone
            parts.classifier.make_schedule = lambda optimizer, _: grow(optimizer, rates / cfg.optimizer.lr)
            try:
                trainer.fit(parts.classifier, datamodule=parts.data)
            except Stopped as stopped:
                log.info(f"{stopped} after {len(recorder.losses)} of {len(rates)} steps; nothing is kept")
                raise
            curve = recorder.curve()
            finding = propose_rate(curve)
            with signals.held():
                write(folder, cfg, curve, finding, {"started": started, **_facts(hardware)})
        log_finding(curve, finding, folder, overrides)
    return finding


def check_testable(cfg: DictConfig) -> None:
    """Raises UserError if there is no one learning rate to vary, or no one process to vary it in."""
    problems = []
    lr = cfg.optimizer.get("lr")
    if not isinstance(lr, int | float) or not 0 < lr < np.inf:
        rule = "must be a number above 0: it is what the range test varies"
        remedy = "" if "lr" in cfg.optimizer else f"If {cfg.optimizer._target_} takes one: +optimizer.lr=1e-3"
        problems.append(Problem("optimizer.lr", rule, "(none)" if lr is None else str(lr), remedy))
    if (devices := cfg.trainer.get("devices", 1)) != 1:
        rule, remedy = "a range test runs in a single process", "Add trainer.devices=1."
        problems.append(Problem("trainer.devices", rule, str(devices), remedy))
    if read_phases(cfg):
        rule = "have learning rates of their own, and a range test varies one"
        remedy = "Add phases=none, and model.freeze=true for the head alone or false for all."
        problems.append(Problem("phases", rule, join_names(read_phases(cfg)), remedy))
    if problems:
        raise UserError("the configuration", problems)


@contextlib.contextmanager
def new_folder(cfg: DictConfig) -> Iterator[Path]:
    """Where the test's files go: `run_dir`, else a dated folder. It is removed again where the test does not end.

    Raises:
        UserError: if it cannot be made or written.
    """
    parent = Path(cfg.output_dir) / cfg.name
    folder = make_folder(Path(cfg.run_dir), "run_dir") if cfg.run_dir else make_dated_folder(parent, "_lr_range")
    try:
        yield folder
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)  # which this has made
        raise


class RangeRecorder(Callback):
    """Keeps the loss of each step, and ends training after the last, or where the loss diverges.

    Args:
        rates: (n,) learning rates, one a step.
        signals: those that ask it to stop.
        progress_bar: draw one, on a terminal.
    """

    def __init__(self, rates: np.ndarray, signals: Signals, progress_bar: bool):
        self.rates, self.signals = rates, signals
        self.losses: list[float] = []
        self.within: list[float] = []
        """of the batches whose gradients are being accumulated"""
        off = None if progress_bar else True
        self.bar = tqdm(total=len(rates), desc="range test", unit=" steps", leave=False, disable=off, delay=1)

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self.signals.listen()

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if self.signals.requested is not None:  # and the exception was swallowed where the signal arrived
            raise Stopped(self.signals.requested)
        ((_, positions),) = batch.indices.batches
        self.within.append(pl_module.losses[-1].item() / len(positions))
        if trainer.global_step == len(self.losses):  # more batches belong to this step
            return
        self.losses.append(float(np.mean(self.within)))
        self.within = []
        self.bar.update()
        trainer.should_stop = len(self.losses) == len(self.rates) or is_diverged(self.losses, len(self.rates))

    def curve(self) -> Curve:
        """What was measured.

        Raises:
            UserError: if that is nothing.
        """
        count = int(np.isfinite(self.losses).sum())  # all, or all but the last
        if not count:
            rule = f"is {self.losses[0]} at the first step, before any weight has moved"
            remedy = "No learning rate mends that. Look at the loss and the network, or try trainer.precision=32-true."
            raise UserError("the training", [Problem("train/loss", rule, remedy=remedy)])
        planned, losses = len(self.rates), np.array(self.losses[:count])
        diverged = float(self.rates[len(self.losses) - 1]) if is_diverged(self.losses, planned) else None
        return Curve(self.rates[:count], losses, smooth_losses(losses, planned), planned, diverged)

    def on_train_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self.bar.close()

    def on_exception(self, trainer: pl.Trainer, pl_module: Any, exception: BaseException) -> None:
        self.bar.close()


def endless_trainer(cfg: DictConfig, recorder: Callback) -> pl.Trainer:
    """The experiment's trainer, for as many epochs as the recorder lets it go on, without validation."""
    trainer = instantiate(cfg.trainer, "trainer", callbacks=[recorder])
    trainer.callbacks = [each for each in trainer.callbacks if not isinstance(each, EarlyStopping | Progress)]
    train_without_end(trainer)
    return trainer


def grow(optimizer: Optimizer, factors: np.ndarray) -> Schedule:
    """Every parameter group's learning rate times a factor a step, (n,)."""
    # A schedule is also asked for the step after the last.
    schedule = LambdaLR(optimizer, lambda step: float(factors[min(step, len(factors) - 1)]))
    return {"scheduler": schedule, "interval": "step"}


def write(folder: Path, cfg: DictConfig, curve: Curve, finding: Finding, facts: Mapping[str, Any]) -> None:
    """The test's files.

    Raises:
        UserError: if they cannot be written.
    """
    columns = {"step": range(1, len(curve.rates) + 1), "lr": curve.rates, "loss": curve.losses}
    table = pd.DataFrame({**columns, "smoothed": curve.smoothed})
    known = {
        "proposal": finding.proposal,
        "reason": finding.reason or None,
        "fell": finding.fell,
        "losses": finding.losses,
        "diverged": curve.diverged,
        "steps": len(curve.rates),
        "planned": curve.planned,
    }
    try:
        replace_text(folder / "config.yaml", OmegaConf.to_yaml(cfg, resolve=True))
        replace_text(folder / "lr_range.csv", table.to_csv(index=False, float_format="%.7g"))
        save_figure(draw_lr_curve(curve, finding, f"Learning-rate range test, {cfg.name}"), folder / "lr_range.png")
        write_json(folder / "lr_range.json", {**known, "seed": cfg.seed, **facts})
    except OSError as error:
        raise make_write_error(folder, error, "type the same line again.") from error


def _facts(hardware: HardwareSettings) -> dict[str, Any]:
    """How the test was done, as run.json has it of a run."""
    done = {
        "command": read_command(),
        "ended": now(),
        "git": read_git_state(),
        "versions": read_versions(),
        **describe_process(),
    }
    return {**done, "device": hardware.device, "threads": hardware.threads, "precision": hardware.precision}
