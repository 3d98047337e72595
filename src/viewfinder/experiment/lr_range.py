"""Learning-rate range test: training with a growing learning rate, and the proposal of one."""

import contextlib
import logging
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytorch_lightning as pl
from omegaconf import DictConfig
from pytorch_lightning.callbacks import Callback

from viewfinder.config.instantiate import STAGE, instantiate
from viewfinder.config.yaml_text import format_settings, to_settings
from viewfinder.errors import Problem, Stopped, UserError, join_names
from viewfinder.evaluation.lr_curve import Curve, Finding, propose_rate
from viewfinder.experiment.build import build_components
from viewfinder.experiment.check import check_config
from viewfinder.experiment.configure_hardware import configure_hardware
from viewfinder.experiment.failures import translate_failures
from viewfinder.reporting.charts.files import save_figure
from viewfinder.reporting.charts.lr_curve import draw_lr_curve
from viewfinder.reporting.pages.range_test import render_range_test
from viewfinder.reporting.range_test import log_finding
from viewfinder.runs.atomic import make_write_error, replace_text, write_json
from viewfinder.runs.launcher import own_launcher
from viewfinder.runs.logging import logging_to
from viewfinder.runs.naming import CONFIG_FILE, RANGE_TEST_FILE, make_configured_folder
from viewfinder.runs.provenance import describe_process, now, read_command, read_git_state, read_versions
from viewfinder.training.callbacks.progress import Progress
from viewfinder.training.callbacks.range_recorder import RangeRecorder, scale_rates
from viewfinder.training.callbacks.signals import Signals
from viewfinder.training.hardware import HardwareSettings
from viewfinder.training.lightning_internals import train_without_end
from viewfinder.training.process_state import restored_process_state
from viewfinder.training.trainer import EarlyStopping

log = logging.getLogger("viewfinder")
PAGE = "lr_range.html"


def run_range_test(cfg: DictConfig, rates: np.ndarray, overrides: Sequence[str] = ()) -> Finding:
    """Train a new network with one learning rate after another until the loss diverges, and propose one of them.

    Batches, augmentation, precision, clipping and accumulation are as in `run_experiment`, without its schedule and
    validation; the weights are not saved. From Smith 2017, "Cyclical Learning Rates for Training Neural Networks"
    (arXiv 1506.01186), section 3.3, with the exponential growth of fastai's lr_find.

    Args:
        cfg: resolved configuration, composed from conf/.
        rates: (n,) increasing values of `optimizer.lr`, one per step; parameter groups keep their ratios.
        overrides: overrides from which the configuration was composed.

    Returns:
        The finding; a new folder has lr_range.html, lr_range.png, lr_range.csv, lr_range.json and config.yaml.

    Raises:
        UserError: if the user can fix the problem; no file is left.
        Stopped: after a signal; no file is left.
    """
    started = now()
    check_config(cfg)
    settings = to_settings(cfg)
    check_range_test(settings)
    with own_launcher(1), restored_process_state(), Signals() as signals, logging_to(None), translate_failures():
        components = build_components(cfg)
        with create_folder(settings) as folder:
            recorder = RangeRecorder(rates, signals, settings["trainer"].get("progress_bar", False))
            trainer = make_endless_trainer(settings["trainer"], recorder)
            hardware = configure_hardware(settings, components, trainer, facts={})
            if schedule := settings.get("scheduler"):
                log.info(f"schedule {schedule['_target_']} is ignored: the range test sets the learning rate")
            if lookahead := settings.get("lookahead"):
                log.info(f"lookahead {lookahead['_target_']} is ignored")
            components.data.chunk_size = 1  # a signal stops training after a batch, not after a chunk of many
            factors = rates / settings["optimizer"]["lr"]
            components.classifier.make_schedule = lambda optimizer, _: scale_rates(optimizer, factors)
            try:
                trainer.fit(components.classifier, datamodule=components.data)
            except Stopped as stopped:
                log.info(f"{stopped} after {len(recorder.losses)} of {len(rates)} steps; nothing is saved")
                stopped.is_logged = True
                raise
            curve = recorder.compute_curve()
            finding = propose_rate(curve)
            with signals.deferred():
                facts = {"started": started, **_describe_test(hardware)}
                write_range_test(folder, settings, curve, finding, overrides, facts)
        log_finding(curve, finding, folder / PAGE, overrides)
    return finding


def check_range_test(settings: Mapping[str, Any]) -> None:
    """Raise UserError unless the configuration has a single learning rate and a single process."""
    problems = []
    optimizer, lr = settings["optimizer"], settings["optimizer"].get("lr")
    if not isinstance(lr, int | float) or not 0 < lr < np.inf:
        rule = "must be a number above 0; the range test varies it"
        remedy = "" if "lr" in optimizer else f"If {optimizer['_target_']} has an argument lr, add +optimizer.lr=1e-3."
        problems.append(Problem("optimizer.lr", rule, "(none)" if lr is None else str(lr), remedy))
    for key in ("devices", "num_nodes"):
        if (count := settings["trainer"].get(key, 1)) != 1:
            rule, remedy = "a range test runs in a single process", f"Add trainer.{key}=1."
            problems.append(Problem(f"trainer.{key}", rule, str(count), remedy))
    if phases := settings.get("phases"):
        rule = "set their own learning rates, but a range test varies a single learning rate"
        remedy = "Add phases=none, and model.freeze=true to train the head alone, or false to train everything."
        problems.append(Problem("phases", rule, join_names(phases), remedy))
    if problems:
        raise UserError(STAGE, problems)


@contextlib.contextmanager
def create_folder(settings: Mapping[str, Any]) -> Iterator[Path]:
    """Create the folder of the test, `run_dir` or a dated one, and remove it if the block fails.

    Raises:
        UserError: if it exists, or cannot be created.
    """
    folder = make_configured_folder(settings, "_lr_range")
    try:
        yield folder
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def make_endless_trainer(options: Mapping[str, Any], recorder: Callback) -> pl.Trainer:
    """Return the experiment's trainer, changed to skip validation and to train until the recorder stops it.

    Args:
        options: `_target_` and arguments of the trainer.
        recorder: the callback.
    """
    trainer = instantiate(options, "trainer", callbacks=[recorder])
    trainer.callbacks = [
        callback for callback in trainer.callbacks if not isinstance(callback, EarlyStopping | Progress)
    ]
    train_without_end(trainer)
    return trainer


def write_range_test(
    folder: Path,
    settings: Mapping[str, Any],
    curve: Curve,
    finding: Finding,
    overrides: Sequence[str],
    facts: Mapping[str, Any],
) -> None:
    """Write config.yaml, lr_range.csv, lr_range.png, lr_range.html and lr_range.json.

    Raises:
        UserError: if they cannot be written.
    """
    columns = {"step": range(1, len(curve.rates) + 1), "lr": curve.rates, "loss": curve.losses}
    table = pd.DataFrame({**columns, "smoothed": curve.smoothed})
    result = {
        "proposal": finding.proposal,
        "reason": finding.reason or None,
        "fell": finding.fell,
        "losses": finding.losses,
        "diverged": curve.diverged,
        "steps": len(curve.rates),
        "planned": curve.planned,
    }
    figure = draw_lr_curve(curve, finding, f"Learning-rate range test, {settings['name']}")
    page = render_range_test(curve, finding, figure, settings["name"], read_command(), overrides)
    try:
        replace_text(folder / CONFIG_FILE, format_settings(settings))
        replace_text(folder / "lr_range.csv", table.to_csv(index=False, float_format="%.7g"))
        save_figure(figure, folder / "lr_range.png")
        replace_text(folder / PAGE, page)
        write_json(folder / RANGE_TEST_FILE, {**result, "seed": settings["seed"], **facts})
    except OSError as error:
        raise make_write_error(folder, error, "run the same command again.") from error


def _describe_test(hardware: HardwareSettings) -> dict[str, Any]:
    """Return command, versions, machine and hardware choices, as in run.json of a run."""
    process = {"command": read_command(), "ended": now(), "git": read_git_state(), "versions": read_versions()}
    return {
        **process, **describe_process(), "device": hardware.device, "threads": hardware.threads,
        "precision": hardware.precision,
    }  # fmt: skip
