"""Experiment: from a configuration to a run folder."""

import logging
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from omegaconf import DictConfig, OmegaConf

from viewfinder.config.instantiate import instantiate
from viewfinder.config.loggers import has_tensorboard
from viewfinder.config.yaml_text import to_settings
from viewfinder.data.module import EVALUATION_BATCH_FACTOR, ImageData
from viewfinder.errors import printable
from viewfinder.evaluation.classified import FLOAT_FORMAT
from viewfinder.evaluation.metrics import Predictions
from viewfinder.evaluation.predictions_csv import build_prediction_table
from viewfinder.experiment.build import NO_OBJECTS, Components, build_components
from viewfinder.experiment.check import check_config
from viewfinder.experiment.configure_hardware import configure_hardware, use_cached_features
from viewfinder.experiment.failures import translate_failures
from viewfinder.experiment.python_objects import PythonObjects
from viewfinder.experiment.resume_state import ResumeState
from viewfinder.reporting.charts.files import save_image
from viewfinder.reporting.charts.mistakes import draw_mistakes
from viewfinder.reporting.console import log_scores
from viewfinder.reporting.pages.run import write_report
from viewfinder.reporting.tensorboard.projector import write_projector
from viewfinder.reporting.tensorboard.writer import TensorBoard, start_tensorboard
from viewfinder.reporting.trackers.process import start_trackers
from viewfinder.runs.atomic import replace_text, write_json
from viewfinder.runs.create import create_run
from viewfinder.runs.folder import RunFolder
from viewfinder.runs.launcher import own_launcher
from viewfinder.runs.logging import logging_to
from viewfinder.runs.peers import connected_processes
from viewfinder.training.callbacks.checkpointing import AfterEpoch, Checkpointing
from viewfinder.training.callbacks.phase_log import PhaseLog
from viewfinder.training.callbacks.signals import Signals
from viewfinder.training.process_state import restored_process_state
from viewfinder.training.scoring import load_weights, score_best_and_last
from viewfinder.training.trainer import EMBEDDINGS

log = logging.getLogger("viewfinder")
Scores = dict[str, Any]
NEW_RUN = ResumeState()


def run_experiment(
    cfg: DictConfig,
    folder: Path | None = None,
    overrides: Sequence[str] = (),
    after_epoch: AfterEpoch | None = None,
    objects: PythonObjects = NO_OBJECTS,
) -> RunFolder:
    """Train a network, score its best and its last weights, and write everything to a run folder.

    The best weights are those of the epoch with the highest validation accuracy.

    Args:
        cfg: resolved configuration, composed from conf/.
        folder: the run folder; by default `run_dir`, or a dated folder in `output_dir`/`name`.
        overrides: overrides from which the configuration was composed, for run.json.
        after_epoch: called after each epoch; it may prune the run.
        objects: network and data to use in place of the configuration's.

    Returns:
        The run folder.

    Raises:
        UserError: if the user can fix the problem; until the data have been read, nothing is created on disk.
        Stopped: after a signal; the run can be resumed.
        Pruned: if `after_epoch` prunes the run.
    """
    devices, nodes = (OmegaConf.select(cfg, f"trainer.{key}", default=1) for key in ("devices", "num_nodes"))
    with own_launcher(devices, nodes), restored_process_state():
        check_config(cfg)
        with connected_processes(devices, nodes):
            with translate_failures():
                components = build_components(cfg, objects=objects)
            settings = to_settings(cfg)
            with create_run(settings, folder, overrides) as run:
                train_and_score(settings, components, run, after_epoch=after_epoch)
    return run


def train_and_score(
    settings: Mapping[str, Any],
    components: Components,
    run: RunFolder,
    state: ResumeState = NEW_RUN,
    after_epoch: AfterEpoch | None = None,
) -> Scores:
    """Train in a run folder, from the beginning or from a checkpoint, and write scores, charts and the report.

    Args:
        settings: configuration as plain values.
        components: data and classifier.
        run: the run folder, locked by this process.
        state: state of an earlier process.
        after_epoch: as in `run_experiment`.
    """
    data, classifier, options = components.data, components.classifier, settings["trainer"]
    show_progress = options.get("progress_bar", True)
    with (
        Signals() as signals,
        logging_to(run.log if run.is_writer else None),
        translate_failures(run),
        start_trackers(run, settings),
        open_board(run, components, settings, state) as board,
    ):
        run.write_data(components.data_facts)
        checkpointing = Checkpointing(run, board, signals, options.get("checkpoint_every"), after_epoch)
        trainer = instantiate(options, "trainer", callbacks=[PhaseLog(board), *components.callbacks, checkpointing])
        hardware = configure_hardware(settings, components, trainer, state.facts)
        run.update_run(
            network=components.network_facts, device=hardware.device, threads=hardware.threads,
            precision=hardware.precision, cuda_graph=hardware.is_graphed,
            phases=classifier.phases.describe_all() if classifier.phases else [],
        )  # fmt: skip
        log_start(run, state, hardware.device)
        features = use_cached_features(settings, components, trainer.strategy.root_device, state.checkpoint)
        if features or not state.checkpoint:  # otherwise run.json keeps the features of the earlier process
            run.update_run(features=features)
        if state.is_trained(options.get("max_epochs")):
            restore(components, trainer, checkpointing, state)
        else:
            with signals.deferred():
                checkpoint = state.checkpoint and state.checkpoint.path
                trainer.fit(classifier, datamodule=data, ckpt_path=checkpoint, weights_only=True)
        scores = score_best_and_last(run, trainer, classifier, data, checkpointing.best_and_last_epoch())
        write_results(run, data, classifier.kept_predictions("test"), scores)
        if board is not None:
            board.write_scores(scores["best"])
            write_embeddings(run, components, trainer, options.get("embeddings", EMBEDDINGS), show_progress)
        run.previous.unlink(missing_ok=True)
        log_scores(scores, run)
    return scores


def open_board(
    run: RunFolder, components: Components, settings: Mapping[str, Any], state: ResumeState
) -> AbstractContextManager[TensorBoard | None]:
    """Open the run's TensorBoard events; return a context that yields None if the run writes none."""
    if not has_tensorboard(settings):
        return nullcontext()
    data, network = components.data, components.classifier.network
    return start_tensorboard(run, network, data.images["val"], data.class_names, settings, state.finished_epochs)


def log_start(run: RunFolder, state: ResumeState, device: str) -> None:
    """Log the run folder and, for a resumed run, the checkpoint and what may change the last bits."""
    log.info(f"run      {printable(str(run.path))}")
    for message in state.messages:
        log.info(message)
    if state.facts.get("device", device) != device:
        log.info(f"         on {state.facts['device']} before, so results may not be bit-identical")


def restore(components: Components, trainer: pl.Trainer, checkpointing: Checkpointing, state: ResumeState) -> None:
    """Restore the final state of a run that an earlier process finished training but did not score."""
    assert state.checkpoint is not None
    components.data.trainer = trainer  # otherwise set by `fit`
    checkpointing.load_state_dict(dict(state.checkpoint.recorder))
    checkpointing.report_epoch(trainer, is_over=True)
    load_weights(components.classifier, state.checkpoint.path)


def write_results(run: RunFolder, data: ImageData, predictions: Predictions, scores: Scores) -> None:
    """Write predictions.csv, scores.json, the charts and the report.

    Args:
        run: the run folder.
        data: the data.
        predictions: predictions of the best weights on the test split.
        scores: contents of scores.json.
    """
    if not run.is_writer:
        return
    table = build_prediction_table(data.splits["test"].names, predictions, data.class_names)
    replace_text(run.predictions, table.to_csv(index=False, float_format=FLOAT_FORMAT))
    write_json(run.scores, scores)
    mistakes = draw_mistakes(data.images["test"], predictions, data.class_names)
    if mistakes is not None:
        save_image(mistakes, run.mistakes)
    write_report(run, "finished")


def write_embeddings(
    run: RunFolder, components: Components, trainer: pl.Trainer, count: int, show_progress: bool
) -> None:
    """Write features of at most `count` test images for TensorBoard's projector."""
    data, classifier = components.data, components.classifier
    write_projector(
        run, classifier, classifier.network, data.images["test"], classifier.kept_predictions("test"),
        names=data.splits["test"].names,
        class_names=data.class_names,
        max_images=count,
        batch_size=EVALUATION_BATCH_FACTOR * data.batch_size,
        device=trainer.strategy.root_device,
        cached_features=data.features.get("test"),
        show_progress=show_progress,
    )  # fmt: skip
