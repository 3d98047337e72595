"""One experiment, from a configuration to a run folder."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig

from viewfinder.assemble import build_classifier, build_network, check_config, open_data
from viewfinder.build import build
from viewfinder.choices import ALL_THREADS, choose
from viewfinder.data.image_data import ImageData
from viewfinder.logs import logging_to
from viewfinder.metrics import Predictions
from viewfinder.preprocess import preprocess_of
from viewfinder.process import keep_freed_memory
from viewfinder.recorder import Recorder
from viewfinder.report.page import save_picture, write_report
from viewfinder.report.predictions import DIGITS, draw_mistakes, prediction_table
from viewfinder.report.summary import network_facts, say_choices, say_data, say_network, say_result
from viewfinder.run_folder import RunFolder, replace_text, write_json
from viewfinder.scoring import score_best_and_last
from viewfinder.seeds import seed_everything
from viewfinder.tensorboard import start_tensorboard
from viewfinder.trainer import interruptible, loop_of

Scores = dict[str, Any]


def run_experiment(cfg: DictConfig, folder: Path | None = None, overrides: Sequence[str] = ()) -> Scores:
    """Train, keep the best weights by validation, score them on the test split, and explain it all in a run folder.

    Args:
        cfg: the resolved configuration, as conf/ composes it.
        folder: where exactly the run goes; by default what `run_dir`, or `output_dir` and `name`, say.
        overrides: what was typed to get this configuration, kept in run.json.

    Returns:
        What scores.json holds: {"best": {"epoch", "val": {...}, "test": {...}}, "last": {...}}.

    Raises:
        ViewfinderError: for whatever a person can mend; until the data has been read nothing is created on disk.
    """
    check_config(cfg)
    torch.set_num_threads(cfg.trainer.get("threads") or ALL_THREADS)
    if cfg.trainer.get("keep_freed_memory", True):
        keep_freed_memory()
    data = open_data(cfg)
    seed_everything(cfg.seed, "weights")
    network = build_network(cfg, data.in_channels, len(data.class_names))
    data.load(preprocess_of(network).image_size)
    data_facts = data.facts()
    facts = network_facts(network, data.in_channels, len(data.class_names))
    classifier = build_classifier(cfg, network, data_facts["class_counts"])
    with (
        RunFolder.create(cfg, folder, overrides) as run,
        logging_to(run.log),
        interruptible(),
        start_tensorboard(run, cfg, data, network) as board,
    ):
        run.write_data(data_facts)
        recorder = Recorder(run, board)
        trainer = build(cfg.trainer, "trainer", callbacks=[recorder])
        device, batch = trainer.strategy.root_device, (data.batch_size, *data.picture_shape)
        data.settle(device)
        say_data(data)
        say_network(facts, run)
        choices = choose(network, batch, device, cfg.trainer)
        loop_of(trainer).precision = choices.precision
        say_choices(choices)
        run.update_run(network=facts, device=choices.device, threads=choices.threads, precision=choices.precision)
        trainer.fit(classifier, datamodule=data)
        scores = score_best_and_last(run, trainer, classifier, data, recorder.epochs())
        write_results(run, data, classifier.predictions["test"], scores)
        recorder.finish(scores)
    return scores


def write_results(run: RunFolder, data: ImageData, test: Predictions, scores: Scores) -> None:
    """predictions.csv, scores.json, the pictures and the report; said on the terminal."""
    if not run.is_writer:
        return
    table = prediction_table(data.splits["test"].names, test, data.class_names)
    replace_text(run.predictions, table.to_csv(index=False, float_format=DIGITS))
    write_json(run.scores, scores)
    mistakes = draw_mistakes(data.pictures["test"], test, data.class_names)
    if mistakes is not None:
        save_picture(mistakes, run.mistakes)
    run.update_run(status="finished")
    write_report(run)
    say_result(scores, run)
