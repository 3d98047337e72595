"""A run goes on where it was stopped, or to more epochs than it was begun with."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from viewfinder.config.flatten import EXECUTION_KEYS
from viewfinder.config.instantiate import accepts_argument, list_targets
from viewfinder.errors import Problem, UserError, did_you_mean, join_names
from viewfinder.experiment.build import to_settings
from viewfinder.experiment.failures import explained, to_resume
from viewfinder.experiment.run import Scores, Start, carry_out, prepare
from viewfinder.experiment.stored_config import from_where, keep_storage, read_checked_config, without_download
from viewfinder.runs.atomic import copy_file, replace_text
from viewfinder.runs.checkpoints import CheckpointInfo, find_newest_checkpoint, read_checkpoint
from viewfinder.runs.config_file import check_types
from viewfinder.runs.find import find_latest, find_runs
from viewfinder.runs.folder import RunFolder
from viewfinder.runs.logging import is_helper
from viewfinder.runs.naming import share_path
from viewfinder.runs.provenance import describe_process, hash_code, now, read_versions
from viewfinder.runs.read import find_changed_splits
from viewfinder.training.callbacks.checkpointing import AfterEpoch
from viewfinder.training.callbacks.epoch_log import format_metrics

CHANGEABLE = ("trainer.max_epochs", "data.root", *EXECUTION_KEYS)
"""Keys of which another value does not make another experiment."""


def find_run(run: str) -> RunFolder:
    """A run by its folder; of 'latest', the run below outputs/ that was written last.

    Raises:
        UserError: if there is none.
    """
    if is_helper():
        return RunFolder.open(share_path(None))
    if run != "latest" or Path(run).exists():
        return RunFolder.open(Path(run))
    try:
        runs = find_runs(Path("outputs"))
    except UserError as error:
        rule, remedy = "is the last run in outputs/, which holds none here", "Give a run folder."
        raise UserError("the run folder", [Problem("RUN", rule, run, remedy)]) from error
    return find_latest(runs)


def resume_experiment(run: RunFolder, overrides: Sequence[str] = (), after_epoch: AfterEpoch | None = None) -> Scores:
    """Train a run to its end from its newest checkpoint, as if it had never been stopped, and score it.

    Args:
        overrides: key=value for keys in CHANGEABLE; a larger `trainer.max_epochs` extends a run.
        after_epoch: as of run_experiment; at first it gets the epochs that are over already.

    Returns:
        As run_experiment.

    Raises:
        UserError: if nothing is left to do, another process is doing it, or it would be another experiment.
        Stopped: after a signal; the run can be continued again.
        Pruned: if `after_epoch` gives it up.
    """
    _refuse_other_experiments(overrides)
    with run.locked():
        cfg, before = OmegaConf.create(run.read_settings()), run.read_run()
        wanted = read_checked_config(run, overrides)
        check_types(run.config, cfg.trainer, {"max_epochs": int})
        begun_with = cfg.trainer.max_epochs
        checkpoint = find_newest_checkpoint((run.last, run.previous, run.best))
        start = Start(checkpoint, before, _said(before, checkpoint))
        _check_length(run, start, begun_with, wanted)
        _check_best(run, checkpoint)
        if run.data.is_file():
            keep_storage(run, wanted, overrides)
        with from_where(run), without_download(wanted), explained():
            parts = prepare(wanted, is_begun=checkpoint is not None)
        _check_data(run, parts.data_facts)
        with run:
            if run.is_writer:
                for key in {word.partition("=")[0] for word in overrides} & set(CHANGEABLE):
                    OmegaConf.update(cfg, key, OmegaConf.select(wanted, key))
                facts = _facts(wanted, start, begun_with, overrides)
                with explained(run):
                    _set_back(run, checkpoint)
                    run.update_run(status="running", error=None, ended=None, **describe_process(), **facts)
                    run.write_settings(to_settings(cfg))
            return carry_out(wanted, parts, run, start, after_epoch)


def _refuse_other_experiments(overrides: Sequence[str]) -> None:
    """Raises UserError naming those that are no keys in CHANGEABLE."""
    problems = []
    for override in overrides:
        key, equals, value = override.partition("=")
        if equals and key not in (*CHANGEABLE, "allow"):
            rule = did_you_mean(key, CHANGEABLE) or "would make another experiment of the run"
            remedy = f"Type it in a new run. When a run goes on, these may change: {join_names(CHANGEABLE)}."
            problems.append(Problem(key, rule, value, remedy))
    if problems:
        raise UserError("the command line", problems)


def _check_length(run: RunFolder, start: Start, was: int, wanted: DictConfig) -> None:
    """Raises UserError if there are no more epochs to train, or may be none."""
    epochs, anew = wanted.trainer.max_epochs, _why_not_longer(start, was, wanted)
    rule, remedy = "", ""
    if epochs < start.begun:
        rule, remedy = f"must be {start.begun} or more", f"The run is in epoch {start.begun}, or has just ended it."
    elif epochs != was and anew:
        rule, remedy = f"cannot change: {anew[0]}", f"Start a new run with {anew[1]}."
    if rule:
        raise UserError("the command line", [Problem("trainer.max_epochs", rule, str(epochs), remedy)])
    if start.before.get("status") == "finished":
        rule = "has finished"
        remedy = f"For more epochs than its {was}: {to_resume(run)} trainer.max_epochs={2 * was}"
        if anew:
            rule, remedy = f"has finished: {anew[0]}", f"For more epochs, start a new run with {anew[1]}."
        if start.checkpoint is None:
            rule, remedy = "has finished, and has no checkpoint to go on from", ""
        elif epochs > start.epochs and not start.is_stopped_early:
            return
        raise UserError("the run folder", [Problem("RUN", rule, str(run.path), remedy)])


def _why_not_longer(start: Start, was: int, wanted: DictConfig) -> tuple[str, str] | None:
    """Why a run cannot have more epochs than it was begun with, and with what a new one can; None where it can."""
    if start.is_stopped_early:
        remedy = "a larger trainer.early_stopping_patience, or null"
        return f"early stopping ended the run after epoch {start.epochs}", remedy
    if accepts_argument(wanted.get("scheduler"), "total_steps"):
        epochs = wanted.trainer.max_epochs if wanted.trainer.max_epochs != was else 2 * was
        remedy = f"trainer.max_epochs={epochs}, or one with scheduler=none, step or plateau"
        return f"the schedule of the learning rate was made for {was} epochs", remedy
    return None


def _check_data(run: RunFolder, facts: Mapping[str, Any]) -> None:
    """Raises UserError if the pictures are not those that the run was begun with."""
    known = run.read_data() if run.data.is_file() else facts
    if changed := find_changed_splits(known, facts):
        rule = f"has other pictures or classes than when the run was begun ({join_names(changed)})"
        remedy = "Bring the old ones back, name their place by data.root=PATH, or start a new run."
        if facts["storage"] == "stream" != known.get("storage"):
            rule = f"is to be streamed now, and was kept ({known.get('storage')}): the pictures cannot be compared"
            remedy = "Add data.storage=disk, or memory."
        raise UserError("the data", [Problem("data", rule, remedy=remedy)])


def _said(before: Mapping[str, Any], found: CheckpointInfo | None) -> list[str]:
    """From where the run goes on, what was passed over, and what may keep it from being bit-identical."""
    said = [f"damaged  {problem.key}: {problem.rule}" for problem in (found.damaged if found else [])]
    if found is None:
        said.append("resumed  from the beginning: there was no checkpoint yet")
    else:
        loop = found.loop
        within = f" and {loop['batches']:,} batches of the next" if loop["batches"] else ""
        said.append(f"resumed  after epoch {loop['epoch']}{within}, from {found.path.name}")
    here = read_versions()
    other = [
        f"{name} {was}, now {here.get(name)}"
        for name, was in before.get("versions", {}).items()
        if here.get(name) != was
    ]
    if other:
        said.append(f"         other versions than before, so the last bits may differ: {join_names(other)}")
    return said


def _facts(cfg: DictConfig, start: Start, was: int, overrides: Sequence[str]) -> dict[str, Any]:
    """What run.json says of it."""
    batches = start.checkpoint.loop["batches"] if start.checkpoint else 0
    resumed = {"time": now(), "epochs": start.epochs, "batches": batches, "overrides": list(overrides)}
    resumed |= {"versions": read_versions(), "code": hash_code(list_targets(to_settings(cfg)))}
    facts: dict[str, Any] = {"resumed": [*start.before.get("resumed", []), resumed]}
    if (epochs := cfg.trainer.max_epochs) != was:
        extended = {"time": now(), "from": was, "to": epochs}
        facts["extended"] = [*start.before.get("extended", []), extended]
    return facts


def _check_best(run: RunFolder, found: CheckpointInfo | None) -> None:
    """Raises UserError if the best weights are lost."""
    best = found.recorder["best_epoch"] if found else 0
    if found is None or not best or _is_best(found):
        return
    recorded = read_checkpoint(run.best).get("callbacks", {}).get("Recorder", {})
    if recorded.get("best_epoch") != best:
        rule = f"does not hold the weights of epoch {best}, which were the best"
        raise UserError("the checkpoint", [Problem(str(run.best), rule)])


def _is_best(found: CheckpointInfo) -> bool:
    """Whether a checkpoint is from the end of the best epoch: a process may have died before best.ckpt was written."""
    return found.recorder["best_epoch"] == found.epochs > 0 and found.loop["batches"] == 0


def _set_back(run: RunFolder, found: CheckpointInfo | None) -> None:
    """Bring the run's files to where its checkpoint is."""
    if found is None:
        run.metrics.unlink(missing_ok=True)
        return
    if found.path != run.last:
        copy_file(found.path, run.last)
    if _is_best(found):
        copy_file(run.last, run.best)
    if found.epochs:
        replace_text(run.metrics, format_metrics(found.recorder["rows"]))
    else:
        run.metrics.unlink(missing_ok=True)
