"""Configuration of an existing run, with overrides: validated before anything in it is built."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from viewfinder.config.hydra_internals import Override, apply_overrides, quote
from viewfinder.config.overrides import ALLOW_PREFIX, STAGE, parse_each
from viewfinder.config.paths import DATA_KEYS, PATH_KEYS, expand_paths, find_started_paths, quote_texts
from viewfinder.config.trust import TrustPolicy, parse_allow, validate_allow
from viewfinder.config.yaml_text import resolve
from viewfinder.errors import Problem, UserError, did_you_mean, join_names
from viewfinder.experiment.check import OPTIONAL_GROUPS, SUPPLIED_ARGUMENTS, check_config
from viewfinder.runs.config_file import check_types
from viewfinder.runs.folder import RunFolder
from viewfinder.runs.own_code import find_own_code
from viewfinder.training.hardware import max_threads

MISSING = "there is no such key"


def load_config(
    folder: RunFolder,
    overrides: Sequence[str],
    trainer: Mapping[str, Any] | None = None,
    data: Mapping[str, Any] | None = None,
    choices: Mapping[str, Mapping[str, Any] | None] | None = None,
) -> DictConfig:
    """Load the configuration of a run from any source, apply overrides and validate it.

    The run's own key `allow` has no effect, but code that this user has trained with is trusted. Nothing is downloaded
    without the override data.download=true.

    Args:
        folder: the run.
        overrides: key=value for keys in config.yaml, and allow=NAME.
        trainer: values for those keys of the trainer that config.yaml has.
        data: values for those keys of the data that config.yaml has; overrides replace them.
        choices: whole groups in place of those of config.yaml.

    Raises:
        UserError: if a key is unknown, or the configuration is invalid or names an untrusted class.
    """
    names = tuple(
        name
        for override in overrides
        if override.startswith(ALLOW_PREFIX)
        for name in parse_allow(override.removeprefix(ALLOW_PREFIX))
    )
    if problems := validate_allow(names):
        raise UserError(STAGE, problems)
    typed = [override for override in overrides if not override.startswith(ALLOW_PREFIX)]
    settings = folder.read_settings()
    check_types(folder.config, settings, dict.fromkeys(SUPPLIED_ARGUMENTS.keys() - OPTIONAL_GROUPS, dict))
    cfg = OmegaConf.create({**settings, **(choices or {})})
    parsed = _parse_overrides(cfg, typed)
    _set_existing_keys(cfg, "data", download=False, **(data or {}))
    try:
        apply_overrides(cfg, parsed)
        cfg = OmegaConf.merge(cfg, {"allow": list(names)})
    except (OmegaConfBaseException, HydraException) as error:
        rule = f"cannot be read: {str(error).splitlines()[0]}"
        raise UserError(STAGE, [Problem(" ".join(typed), rule)]) from error
    assert isinstance(cfg, DictConfig)
    resolve(cfg)
    expand_paths(cfg)
    typed_keys = [override.key_or_group for override in parsed]
    find_started_paths(cfg, folder.read_run().get("working_folder"), typed_keys)
    if "trainer.threads" not in typed_keys:
        _limit_threads(cfg)
    _set_existing_keys(cfg, "trainer", **(trainer or {}))
    with explain_working_folder(folder):
        own, changed = find_own_code(settings)
        check_config(cfg, TrustPolicy((*names, *own), changed=changed))
    return cfg


def has_moved_data(folder: RunFolder, cfg: DictConfig) -> bool:
    """Return whether a run's data are read from another place than in the run, however the place is written."""
    started_in = Path(folder.read_run().get("working_folder") or "")
    for key in DATA_KEYS:
        name = key.partition(".")[2]
        stored, present = folder.read_settings()["data"].get(name), cfg.data.get(name)
        if stored == present:
            continue
        if not (isinstance(stored, str) and isinstance(present, str)):
            return True
        if Path(present).expanduser().resolve() != (started_in / Path(stored).expanduser()).resolve():
            return True
    return False


def keep_streaming(folder: RunFolder, cfg: DictConfig, overrides: Sequence[str]) -> None:
    """Set `data.storage` to stream if the run streamed its images and no override sets it.

    Fingerprints of streamed images can only be compared with each other.
    """
    keys = {override.partition("=")[0] for override in overrides}
    if folder.read_data().get("storage") == "stream" and "storage" in cfg.data and "data.storage" not in keys:
        cfg.data.storage = "stream"


def _limit_threads(cfg: DictConfig) -> None:
    """Limit the threads of a run that was trained on a larger machine, or by an earlier version."""
    threads = cfg.trainer.get("threads")
    if isinstance(threads, int) and threads > max_threads():
        cfg.trainer.threads = max_threads()


def _set_existing_keys(cfg: DictConfig, group: str, **values: Any) -> None:
    """Set the values of those keys that a group has."""
    cfg[group] = OmegaConf.merge(cfg[group], {key: value for key, value in values.items() if key in cfg[group]})


def _parse_overrides(cfg: DictConfig, overrides: Sequence[str]) -> list[Override]:
    """Parse overrides by the grammar of new runs.

    Raises:
        UserError: naming overrides that are not key=value, or whose keys are missing or groups.
    """
    problems = []
    for override in overrides:
        key, equals, _ = override.partition("=")
        parent, dot, _ = key.rpartition(".")
        value = _select(cfg, key)
        if not equals:
            problems.append(Problem(override, "is not key=value", remedy="For example data.root=/new/place."))
        elif value == MISSING:
            group = _select(cfg, parent) if dot else cfg
            keys = [f"{parent}{dot}{name}" for name in group] if isinstance(group, DictConfig) else []
            rule = did_you_mean(key, keys) or "the run's configuration has no such key"
            problems.append(Problem(override, rule, remedy=f"Keys: {join_names(keys or map(str, cfg))}."))
        elif isinstance(value, DictConfig):
            keys = join_names(f"{key}.{name}" for name in value)
            problems.append(Problem(override, "is a group of keys; set one of them", remedy=f"Keys: {keys}."))
    parsed = []
    for override in quote_texts(overrides) if not problems else ():
        key, _, value = override.partition("=")
        results, unreadable = parse_each([override])
        is_text = key in PATH_KEYS or isinstance(_select(cfg, key), str)
        if is_text and (unreadable or results[0].is_sweep_override()):  # an existing run has no sweeps
            results, unreadable = parse_each([f"{key}={quote(value)}"])
        if any(result.is_sweep_override() for result in results):
            remedy = "Give it one, or put text with a comma in quotes: 'key=\"a,b\"'."
            problems.append(Problem(override, "has several values", remedy=remedy))
        parsed, problems = parsed + results, problems + unreadable
    if problems:
        raise UserError(STAGE, problems)
    return parsed


def _select(cfg: DictConfig, key: str) -> Any:
    """Return the value at a dotted key, or MISSING."""
    try:
        return OmegaConf.select(cfg, key, default=MISSING) if key else MISSING
    except OmegaConfBaseException:  # an invalid key
        return MISSING


@contextlib.contextmanager
def explain_download(cfg: DictConfig) -> Iterator[None]:
    """Extend an error about missing data with the override that downloads the data."""
    try:
        yield
    except UserError as error:
        if cfg.data.get("download") is not False:
            raise
        rule = "is off: an existing run downloads data only if an override allows it"
        download = Problem("data.download", rule, remedy="Add data.download=true.")
        raise UserError(error.stage, [*error.problems, download]) from error


@contextlib.contextmanager
def explain_working_folder(folder: RunFolder) -> Iterator[None]:
    """Extend an error with the folder in which the run was started, unless it is the current folder."""
    try:
        yield
    except UserError as error:
        started_in = folder.read_run().get("working_folder")
        if started_in is None or Path(started_in) == Path.cwd():
            raise
        rule = f"was started in {started_in}"
        remedy = "Relative paths are resolved there and in the current folder, user modules only in the current folder."
        raise UserError(error.stage, [*error.problems, Problem("the run", rule, remedy=remedy)]) from error
