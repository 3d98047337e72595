"""A run's configuration, whoever wrote it, with what was typed: checked, before anything of it is built."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from viewfinder.config.trust import TrustPolicy, parse_allow, validate_allow
from viewfinder.errors import Problem, UserError, did_you_mean, join_names
from viewfinder.experiment.build import GIVEN, MAY_BE_EMPTY, check_config
from viewfinder.runs.config_file import check_types
from viewfinder.runs.folder import RunFolder

NOTHING = "there is no such key"
ALLOW = "allow="
"""What a word of a command line begins with that names packages."""


def keep_storage(folder: RunFolder, cfg: DictConfig, overrides: Sequence[str]) -> None:
    """Have pictures streamed that were, unless another way was typed: they are known by other facts than those kept."""
    typed = {override.partition("=")[0] for override in overrides}
    if folder.read_data().get("storage") == "stream" and "storage" in cfg.data and "data.storage" not in typed:
        cfg.data.storage = "stream"


def read_checked_config(
    folder: RunFolder,
    overrides: Sequence[str],
    trainer: Mapping[str, Any] | None = None,
    data: Mapping[str, Any] | None = None,
) -> DictConfig:
    """A run's configuration with what was typed, checked, whoever wrote it.

    What the run itself allows counts for nothing, and nothing is downloaded unless that is typed.

    Args:
        overrides: key=value, changing keys that config.yaml has; and allow=NAME.
        trainer: those of its keys that are set by the machine and the command.
        data: those that are so unless they are typed.

    Raises:
        UserError: if a key is unknown, or config.yaml names what is not allowed or is wrong.
    """
    names = tuple(
        name for word in overrides if word.startswith(ALLOW) for name in parse_allow(word.removeprefix(ALLOW))
    )
    if problems := validate_allow(names):
        raise UserError("the command line", problems)
    typed = [word for word in overrides if not word.startswith(ALLOW)]
    settings = folder.read_settings()
    check_types(folder.config, settings, dict.fromkeys(GIVEN.keys() - MAY_BE_EMPTY, dict))
    cfg = OmegaConf.create(settings)
    _check_keys(cfg, typed)
    _settle(cfg, "data", download=False, **(data or {}))
    try:
        cfg = OmegaConf.merge(cfg, OmegaConf.from_dotlist(typed), {"allow": list(names)})
        OmegaConf.resolve(cfg)
    except (OmegaConfBaseException, YAMLError) as error:
        rule = f"cannot be read: {str(error).splitlines()[0]}"
        raise UserError("the command line", [Problem(" ".join(typed), rule)]) from error
    assert isinstance(cfg, DictConfig)
    _settle(cfg, "trainer", **(trainer or {}))
    with from_where(folder):
        check_config(cfg, TrustPolicy(names))
    return cfg


def _settle(cfg: DictConfig, group: str, **values: Any) -> None:
    """Set those of a group's keys that it has."""
    known = {key: value for key, value in values.items() if key in cfg[group]}
    cfg[group] = OmegaConf.merge(cfg[group], known)


def _check_keys(cfg: DictConfig, overrides: Sequence[str]) -> None:
    problems = []
    for override in overrides:
        key, equals, _ = override.partition("=")
        parent, dot, _ = key.rpartition(".")
        there = _select(cfg, key)
        if not equals:
            problems.append(Problem(override, "is not key=value", remedy="Such as data.root=/new/place."))
        elif there == NOTHING:
            group = _select(cfg, parent) if dot else cfg
            known = [f"{parent}{dot}{word}" for word in group] if isinstance(group, DictConfig) else []
            near = did_you_mean(key, known) or "the run's configuration has no such key"
            problems.append(Problem(override, near, remedy=f"Keys: {join_names(known or map(str, cfg))}."))
        elif isinstance(there, DictConfig):
            keys = join_names(f"{key}.{word}" for word in there)
            problems.append(
                Problem(override, "holds several keys, each to be given by itself", remedy=f"Keys: {keys}.")
            )
    if problems:
        raise UserError("the command line", problems)


def _select(cfg: DictConfig, key: str) -> Any:
    """What stands at a dotted key, or NOTHING."""
    try:
        return OmegaConf.select(cfg, key, default=NOTHING) if key else NOTHING
    except OmegaConfBaseException:  # what is no key at all
        return NOTHING


@contextlib.contextmanager
def without_download(cfg: DictConfig) -> Iterator[None]:
    """To an error about data that were not downloaded, add how they would be."""
    try:
        yield
    except UserError as error:
        if cfg.data.get("download") is not False:
            raise
        rule = "is true only where it is typed: a run that is opened again downloads nothing by itself"
        typed = Problem("data.download", rule, remedy="Add data.download=true.")
        raise UserError(error.stage, [*error.problems, typed]) from error


@contextlib.contextmanager
def from_where(folder: RunFolder) -> Iterator[None]:
    """To an error that may come of being in another folder than the run was, add which that was."""
    try:
        yield
    except UserError as error:
        before = folder.read_run().get("working_folder")
        if before is None or Path(before) == Path.cwd():
            raise
        rule = f"was started in {before}"
        remedy = "A network of one's own and paths that begin with no / are looked for in the folder where one is."
        raise UserError(error.stage, [*error.problems, Problem("the run", rule, remedy=remedy)]) from error
