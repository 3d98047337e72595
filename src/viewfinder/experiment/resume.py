"""Resumption of a run: to its end, or to more epochs."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from viewfinder.config.flatten import EXECUTION_KEYS
from viewfinder.config.instantiate import accepts_argument, list_targets
from viewfinder.config.paths import DATA_KEYS, INPUT_KEYS
from viewfinder.config.yaml_text import to_settings
from viewfinder.errors import Problem, UserError, did_you_mean, join_names
from viewfinder.experiment.build import NO_OBJECTS, build_components
from viewfinder.experiment.failures import format_resume_command, translate_failures
from viewfinder.experiment.python_objects import PythonObjects
from viewfinder.experiment.resume_state import ResumeState, read_resume_state
from viewfinder.experiment.run import train_and_score
from viewfinder.experiment.stored_config import explain_download, explain_working_folder, keep_streaming, load_config
from viewfinder.runs.atomic import copy_file, replace_text
from viewfinder.runs.checkpoints import CheckpointInfo, find_newest_checkpoint, read_checkpoint
from viewfinder.runs.config_file import check_types
from viewfinder.runs.folder import RunFolder
from viewfinder.runs.launcher import own_launcher
from viewfinder.runs.own_code import remember_own_code
from viewfinder.runs.peers import connected_processes
from viewfinder.runs.provenance import describe_process, hash_code, now, read_versions
from viewfinder.runs.read import find_changed_splits
from viewfinder.training.callbacks.checkpointing import AfterEpoch
from viewfinder.training.callbacks.epoch_log import format_metrics
from viewfinder.training.process_state import restored_process_state

CHANGEABLE = ("trainer.max_epochs", *DATA_KEYS, *EXECUTION_KEYS)
"""Keys whose values may change when a run is resumed."""


def resume_experiment(
    run: RunFolder,
    overrides: Sequence[str] = (),
    after_epoch: AfterEpoch | None = None,
    objects: PythonObjects = NO_OBJECTS,
) -> RunFolder:
    """Train a run from its newest checkpoint to its end, as if it had never stopped, and score it.

    Args:
        run: the run.
        overrides: key=value for keys in CHANGEABLE; a larger `trainer.max_epochs` extends a run. allow=NAME trusts the
            classes of the package or module NAME.
        after_epoch: as in `run_experiment`; it is first called with the finished epochs.
        objects: network and data to use in place of the configuration's.

    Returns:
        The run.

    Raises:
        UserError: if the run is complete or locked, or the overrides or the data make it another experiment.
        Stopped: after a signal; the run can be resumed again.
        Pruned: if `after_epoch` prunes the run.
    """
    _refuse_other_keys(overrides)
    trainer = run.read_settings().get("trainer", {})
    devices, nodes = trainer.get("devices", 1), trainer.get("num_nodes", 1)
    with (
        own_launcher(devices, nodes), restored_process_state(), connected_processes(devices, nodes), run.locked(),
    ):  # fmt: skip
        settings, cfg = run.read_settings(), load_config(run, overrides)
        check_types(run.config, settings["trainer"], {"max_epochs": int})
        max_epochs = settings["trainer"]["max_epochs"]
        checkpoint = find_newest_checkpoint((run.last, run.previous, run.best))
        state = read_resume_state(checkpoint, run.read_run())
        _check_epochs(run, state, max_epochs, cfg)
        _check_best_weights(run, checkpoint)
        if run.data.is_file():
            keep_streaming(run, cfg, overrides)
        class_order = run.read_data()["class_names"] if run.data.is_file() else None
        with explain_working_folder(run), explain_download(cfg), translate_failures():
            components = build_components(cfg, checkpoint is not None, objects, class_order)
        _check_data(run, components.data_facts)
        with run:
            if run.is_writer:
                facts = _describe_resumption(cfg, state, max_epochs, overrides)
                with translate_failures(run):
                    _reset_files(run, checkpoint)
                    run.update_run(status="running", error=None, ended=None, **describe_process(), **facts)
                    changed = _apply_overrides(run, settings, cfg, overrides)
                    run.write_settings(changed)
                    remember_own_code(changed, facts["resumed"][-1]["code"])
            train_and_score(to_settings(cfg), components, run, state, after_epoch)
    return run


def _refuse_other_keys(overrides: Sequence[str]) -> None:
    """Raise UserError for overrides of keys outside CHANGEABLE."""
    problems = []
    for override in overrides:
        key, equals, value = override.partition("=")
        if equals and key not in (*CHANGEABLE, "allow"):
            rule = did_you_mean(key, CHANGEABLE) or "would change the experiment"
            remedy = f"Set it in a new run. A resumed run may change: {join_names(CHANGEABLE)}."
            problems.append(Problem(key, rule, value, remedy))
    if problems:
        raise UserError("the command line", problems)


def _check_epochs(run: RunFolder, state: ResumeState, max_epochs: int, cfg: DictConfig) -> None:
    """Raise UserError if there are no epochs left to train, or their number may not change.

    Args:
        run: the run.
        state: state from which it is resumed.
        max_epochs: number of epochs in its config.yaml.
        cfg: configuration with overrides.
    """
    epochs, obstacle = cfg.trainer.max_epochs, _find_extension_obstacle(state, max_epochs, cfg)
    rule, remedy = "", ""
    if epochs < state.started_epochs:
        count = state.started_epochs
        rule, remedy = f"must be {count} or more", f"The run is in epoch {count}, or has just finished it."
    elif epochs != max_epochs and obstacle:
        rule, remedy = f"cannot change: {obstacle[0]}", f"Start a new run with {obstacle[1]}."
    if rule:
        raise UserError("the command line", [Problem("trainer.max_epochs", rule, str(epochs), remedy)])
    if state.facts.get("status") == "finished":
        rule = f"has finished all {max_epochs} epochs"
        remedy = f"To train longer: {format_resume_command(run)} trainer.max_epochs={2 * max_epochs}"
        if obstacle:
            rule, remedy = f"has finished and cannot be extended: {obstacle[0]}", f"Start a new run with {obstacle[1]}."
        if state.checkpoint is None:
            rule, remedy = "has finished, and has no checkpoint to resume from", ""
        elif not state.is_trained(epochs):
            return
        raise UserError("the run folder", [Problem("RUN", rule, str(run.path), remedy)])


def _find_extension_obstacle(state: ResumeState, max_epochs: int, cfg: DictConfig) -> tuple[str, str] | None:
    """Return why a run cannot have another number of epochs, and what a new run needs; None if it can."""
    if state.is_stopped_early:
        remedy = "a larger trainer.early_stopping_patience, or null"
        return f"early stopping ended the run after epoch {state.finished_epochs}", remedy
    epochs = cfg.trainer.max_epochs if cfg.trainer.max_epochs != max_epochs else 2 * max_epochs
    reasons = {
        ("learning-rate schedule", "scheduler=none, step or plateau"):
            accepts_argument(cfg.get("scheduler"), "total_steps"),
        ("average of weights", "averaging=none or ema"): OmegaConf.select(cfg, "averaging.start"),
        ("Lookahead", "lookahead=none or constant"): OmegaConf.select(cfg, "lookahead.ramp"),
    }  # fmt: skip
    for (part, choices), applies in reasons.items():
        if applies:
            return f"its {part} was made for {max_epochs} epochs", f"trainer.max_epochs={epochs}, or one with {choices}"
    return None


def _check_data(run: RunFolder, facts: Mapping[str, Any]) -> None:
    """Raise UserError if the images or classes have changed since the run started."""
    stored = run.read_data() if run.data.is_file() else facts
    if changed := find_changed_splits(stored, facts):
        rule = f"has different images or classes than when the run started ({join_names(changed)})"
        remedy = "Restore the old data, pass its folder as data.root=PATH, or start a new run."
        if facts["storage"] == "stream" != stored.get("storage"):
            rule = f"is streamed now, and was stored before ({stored.get('storage')}): the images cannot be compared"
            remedy = "Add data.storage=disk, or memory."
        raise UserError("the data", [Problem("data", rule, remedy=remedy)])


def _describe_resumption(
    cfg: DictConfig, state: ResumeState, max_epochs: int, overrides: Sequence[str]
) -> dict[str, Any]:
    """Return the entries of the resumption, and of an extension, for run.json."""
    batches = state.checkpoint.loop["batches"] if state.checkpoint else 0
    resumed = {"time": now(), "epochs": state.finished_epochs, "batches": batches, "overrides": list(overrides)}
    resumed |= {"versions": read_versions(), "code": hash_code(list_targets(to_settings(cfg)))}
    facts: dict[str, Any] = {"resumed": [*state.facts.get("resumed", []), resumed]}
    if (epochs := cfg.trainer.max_epochs) != max_epochs:
        extended = {"time": now(), "from": max_epochs, "to": epochs}
        facts["extended"] = [*state.facts.get("extended", []), extended]
    return facts


def _apply_overrides(
    run: RunFolder, settings: Mapping[str, Any], cfg: DictConfig, overrides: Sequence[str]
) -> dict[str, Any]:
    """Return the stored settings, with the values of `cfg` for the keys that are overridden.

    A path to data becomes absolute unless the run was started in this folder, to which its relative paths refer.
    """
    stored, is_elsewhere = OmegaConf.create(dict(settings)), run.read_run().get("working_folder") != str(Path.cwd())
    for key in {override.partition("=")[0] for override in overrides} & set(CHANGEABLE):
        value = OmegaConf.select(cfg, key)
        is_path = key in INPUT_KEYS and isinstance(value, str) and Path(value).exists()  # else a name on a hub
        OmegaConf.update(stored, key, str(Path(value).absolute()) if is_path and is_elsewhere else value)
    return to_settings(stored)


def _check_best_weights(run: RunFolder, checkpoint: CheckpointInfo | None) -> None:
    """Raise UserError if no file contains the best weights."""
    best = checkpoint.recorder["best_epoch"] if checkpoint else 0
    if checkpoint is None or not best or _is_best(checkpoint):
        return
    recorder = read_checkpoint(run.best).get("callbacks", {}).get("Recorder", {})
    if recorder.get("best_epoch") != best:
        rule = f"does not contain the best weights, those of epoch {best}"
        raise UserError("the checkpoint", [Problem(str(run.best), rule)])


def _is_best(checkpoint: CheckpointInfo) -> bool:
    """Return whether a checkpoint was saved at the end of the best epoch.

    The process that saved it may have ended before it wrote best.ckpt.
    """
    return checkpoint.recorder["best_epoch"] == checkpoint.epochs > 0 and checkpoint.loop["batches"] == 0


def _reset_files(run: RunFolder, checkpoint: CheckpointInfo | None) -> None:
    """Reset the run's files to the state of its checkpoint."""
    if checkpoint is not None and checkpoint.path != run.last:
        copy_file(checkpoint.path, run.last)
    if checkpoint is not None and _is_best(checkpoint):
        copy_file(run.last, run.best)
    if checkpoint is not None and checkpoint.epochs:
        replace_text(run.metrics, format_metrics(checkpoint.recorder["rows"]))
    else:
        run.metrics.unlink(missing_ok=True)
