"""One experiment, from a configuration to a run folder."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytorch_lightning as pl
import torch
from omegaconf import DictConfig, OmegaConf
from torch import nn

from viewfinder.config.instantiate import instantiate
from viewfinder.data.module import EVALUATION_BATCH_FACTOR, ImageData
from viewfinder.data.preprocess import get_preprocess
from viewfinder.data.seeding import seed_everything
from viewfinder.evaluation.metrics import Predictions
from viewfinder.evaluation.predictions import FLOAT_FORMAT, build_prediction_table
from viewfinder.experiment.build import (
    build_classifier,
    build_network,
    check_config,
    get_cache_blocker,
    open_data,
    rebuild_network,
)
from viewfinder.experiment.failures import explained
from viewfinder.models.summary import summarise_network
from viewfinder.models.transfer import Transferable
from viewfinder.reporting.charts.files import save_image
from viewfinder.reporting.charts.mistakes import draw_mistakes
from viewfinder.reporting.console import log_data_summary, log_model_summary, log_scores
from viewfinder.reporting.pages.run import write_report
from viewfinder.reporting.tensorboard.projector import write_projector
from viewfinder.reporting.tensorboard.writer import start_tensorboard
from viewfinder.runs.atomic import replace_text, write_json
from viewfinder.runs.checkpoints import CheckpointInfo
from viewfinder.runs.create import create_run
from viewfinder.runs.folder import RunFolder
from viewfinder.runs.logging import logging_to
from viewfinder.training.callbacks.checkpointing import AfterEpoch, Checkpointing
from viewfinder.training.callbacks.phase_log import PhaseLog
from viewfinder.training.callbacks.signals import Signals
from viewfinder.training.classifier import Classifier
from viewfinder.training.features.cache import has_frozen_backbone, use_features
from viewfinder.training.hardware import DEFAULT_THREADS, HardwareSettings, choose_settings, log_settings, set_threads
from viewfinder.training.phases import Phases
from viewfinder.training.precision import set_tf32
from viewfinder.training.runtime import keep_freed_memory, skip_gpu_checks
from viewfinder.training.scoring import load_weights, score_best_and_last
from viewfinder.training.trainer import EMBEDDINGS, get_training_loop

log = logging.getLogger("viewfinder")
Scores = dict[str, Any]


class Parts(NamedTuple):
    """What a training needs, ready before anything is created on disk."""

    data: ImageData
    classifier: Classifier
    data_facts: dict[str, Any]
    network_facts: dict[str, Any]


def run_experiment(
    cfg: DictConfig,
    folder: Path | None = None,
    overrides: Sequence[str] = (),
    after_epoch: AfterEpoch | None = None,
) -> Scores:
    """Train, keep the best weights by validation, score them on the test split, and explain it all in a run folder.

    Args:
        cfg: the resolved configuration, as conf/ composes it.
        folder: where exactly the run goes; by default what `run_dir`, or `output_dir` and `name`, say.
        overrides: what was typed to get this configuration, kept in run.json.
        after_epoch: may give the run up when an epoch is over.

    Returns:
        What scores.json holds: {"best": {"epoch", "val": {...}, "test": {...}}, "last": {...}}.

    Raises:
        UserError: for whatever a person can mend; until the data has been read nothing is created on disk.
        Stopped: after a signal; the run can be continued.
        Pruned: if `after_epoch` gives it up.
    """
    check_config(cfg)
    with explained():
        parts = prepare(cfg)
    plain: Any = OmegaConf.to_container(cfg, resolve=True)
    with create_run(plain, folder, overrides) as run:
        return carry_out(cfg, parts, run, after_epoch=after_epoch)


def prepare(cfg: DictConfig, is_begun: bool = False) -> Parts:
    """Read the data and build what is trained on them, as a checked configuration says.

    Args:
        is_begun: there is a checkpoint, so that pre-trained weights need not be had again.

    Raises:
        UserError: for whatever a person can mend.
    """
    torch.set_num_threads(cfg.trainer.get("threads") or DEFAULT_THREADS)
    set_tf32(False)
    skip_gpu_checks()
    data = open_data(cfg)
    seed_everything(cfg.seed, "weights")
    network = (rebuild_network if is_begun else build_network)(cfg, data.in_channels, len(data.class_names))
    data.load(get_preprocess(network))
    if cfg.trainer.get("keep_freed_memory", True):  # only now: reading pictures takes more than training needs again
        keep_freed_memory()
    data_facts = data.summarise()
    facts = summarise_network(network, data.in_channels, len(data.class_names))  # before phases look at its parameters
    classifier = build_classifier(cfg, network, data_facts["class_counts"])
    facts["trained"] = sum(p.numel() for p in network.parameters() if p.requires_grad)  # in any of them
    return Parts(data, classifier, data_facts, facts)


class Start(NamedTuple):
    """Where a run that is continued begins."""

    checkpoint: CheckpointInfo | None
    before: dict[str, Any]
    """run.json, whose threads and precision are kept"""
    said: list[str]
    """for a person"""

    @property
    def epochs(self) -> int:
        """Those that are over."""
        return self.checkpoint.epochs if self.checkpoint else 0

    @property
    def begun(self) -> int:
        """Epochs that are over or go on."""
        return self.epochs + bool(self.checkpoint and self.checkpoint.loop["batches"])

    @property
    def is_stopped_early(self) -> bool:
        return self.checkpoint is not None and self.checkpoint.recorder["is_stopped_early"]


def carry_out(
    cfg: DictConfig,
    parts: Parts,
    run: RunFolder,
    start: Start | None = None,
    after_epoch: AfterEpoch | None = None,
) -> Scores:
    """Train and score in a run folder, from the beginning or from where an earlier process has come to."""
    data, classifier, network = parts.data, parts.classifier, parts.classifier.network
    plain: Any = OmegaConf.to_container(cfg, resolve=True)
    with (
        Signals() as signals,
        logging_to(run.log if run.is_writer else None),
        explained(run),
        start_tensorboard(
            run, network, data.images["val"], data.class_names, plain, start.epochs if start else 0
        ) as board,
    ):
        run.write_data(parts.data_facts)
        checkpointing = Checkpointing(run, board, signals, cfg.trainer.get("checkpoint_every"), after_epoch)
        trainer = instantiate(cfg.trainer, "trainer", callbacks=[PhaseLog(board), checkpointing])
        hardware = settle(cfg, parts, trainer, start and start.before)
        log.info(f"run      {run.path}")
        run.update_run(
            network=parts.network_facts, device=hardware.device, threads=hardware.threads, precision=hardware.precision,
            cuda_graph=hardware.is_graphed, phases=classifier.phases.describe_all() if classifier.phases else [],
        )  # fmt: skip
        for line in start.said if start else []:
            log.info(line)
        if start and start.before.get("device", hardware.device) != hardware.device:
            log.info(f"         on {start.before['device']} before, so the last bits may differ")
        checkpoint = start and start.checkpoint
        features = head_alone(cfg, parts, trainer.strategy.root_device, checkpoint)
        if features or not checkpoint:  # else those that were used before stay named
            run.update_run(features=features)
        if start and checkpoint and (start.is_stopped_early or start.epochs >= cfg.trainer.max_epochs):
            data.trainer = trainer  # which has it from `fit` otherwise
            checkpointing.load_state_dict(dict(checkpoint.recorder))
            checkpointing.report_epoch(trainer, is_over=True)
            load_weights(classifier, checkpoint.path)
        else:
            with signals.held():
                path = checkpoint and checkpoint.path
                trainer.fit(classifier, datamodule=data, ckpt_path=path, weights_only=True)
        scores = score_best_and_last(run, trainer, classifier, data, checkpointing.best_and_last_epoch())
        write_results(run, data, classifier.predictions["test"], scores)
        if board is not None:
            board.write_scores(scores["best"])
            write_projector(
                run, classifier, network, data.images["test"], classifier.predictions["test"],
                names=data.splits["test"].names,
                class_names=data.class_names,
                most=cfg.trainer.get("embeddings", EMBEDDINGS),
                batch_size=EVALUATION_BATCH_FACTOR * data.batch_size,
                device=trainer.strategy.root_device,
                cached_features=data.features.get("test"),
                show_progress=cfg.trainer.get("progress_bar", True),
            )  # fmt: skip
        run.previous.unlink(missing_ok=True)
        log_scores(scores, run)
    return scores


def settle(
    cfg: DictConfig, parts: Parts, trainer: pl.Trainer, before: Mapping[str, Any] | None = None
) -> HardwareSettings:
    """Put the data where the trainer's device finds them, and choose threads and precision; said on the terminal.

    Args:
        before: run.json of the run that is resumed.
    """
    data, device = parts.data, trainer.strategy.root_device
    data.move_to_device(device)
    log_data_summary(data)
    log_model_summary(parts.network_facts)
    network = parts.classifier.network
    if kept := kept_random(cfg, network, parts.classifier.phases):
        log.info(f"         {kept}: model.weights=null")
    trains_head_only = has_frozen_backbone(network) and not get_cache_blocker(cfg)
    settings = choose_settings(network, parts.classifier.loss, device, cfg.trainer, before, trains_head_only)
    set_threads(settings.threads, cfg.trainer.get("devices", 1))
    loop = get_training_loop(trainer)
    loop.precision, loop.is_graphed = settings.precision, settings.is_graphed
    log_settings(settings)
    return settings


def kept_random(cfg: DictConfig, network: nn.Module, phases: Phases | None) -> str:
    """What keeps random weights as they are, for a person; '' where all are trained, or they were given."""
    if cfg.model.get("weights", "") is not None or not isinstance(network, Transferable):
        return ""
    if network.is_backbone_frozen:
        return "frozen with random weights"
    if phases is not None and phases.is_backbone_unchanged(0):
        return f"random weights, frozen in phase {phases.at(0)}"
    return ""


def head_alone(
    cfg: DictConfig, parts: Parts, device: torch.device, checkpoint: CheckpointInfo | None
) -> dict[str, Any] | None:
    """Have the head trained on features of the pictures, for as long as nothing else is.

    Args:
        checkpoint: with which a run goes on.

    Returns:
        As use_features.
    """
    network, phases = parts.classifier.network, parts.classifier.phases
    splits = dict(parts.data_facts["fingerprint"])
    if not has_frozen_backbone(network):  # but trained in some phase: then it is scored on pictures
        del splits["test"]
    if phases is not None:
        epochs = checkpoint.epochs if checkpoint else 0
        phases.enter(epochs)  # of what is trained then, DistributedDataParallel averages the gradients
        if not phases.is_backbone_unchanged(epochs):
            return None
    if checkpoint and has_frozen_backbone(network):  # whose weights are not those that it was built with
        load_weights(parts.classifier, checkpoint.path)
    show_progress = cfg.trainer.get("progress_bar", True)
    return use_features(parts.data, network, device, splits, get_cache_blocker(cfg), show_progress)


def write_results(run: RunFolder, data: ImageData, test: Predictions, scores: Scores) -> None:
    """predictions.csv, scores.json, the pictures and the report."""
    if not run.is_writer:
        return
    table = build_prediction_table(data.splits["test"].names, test, data.class_names)
    replace_text(run.predictions, table.to_csv(index=False, float_format=FLOAT_FORMAT))
    write_json(run.scores, scores)
    mistakes = draw_mistakes(data.images["test"], test, data.class_names)
    if mistakes is not None:
        save_image(mistakes, run.mistakes)
    write_report(run, "finished")
