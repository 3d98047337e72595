"""Settings: a configuration as plain, resolved values, and its YAML text."""

import codecs
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from viewfinder.config.flatten import flatten
from viewfinder.config.omegaconf_internals import make_fast_loader
from viewfinder.errors import Problem, UserError

STAGE = "the configuration"
MAX_DEPTH = 50
"""Levels of nested lists and keys; a file with thousands takes hours to parse."""


def decode_yaml(path: Path) -> str:
    """Return the text of a YAML file in UTF-8, without a byte-order mark.

    Raises:
        UserError: if it has another encoding.
    """
    content = path.read_bytes()
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        encoding = "UTF-16" if content[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else "LATIN1"
        rule = f"is not UTF-8: byte 0x{content[error.start]:02x} in line {line}"
        remedy = f"Save it as UTF-8, for example by: iconv -f {encoding} -t UTF-8 FILE > NEW"
        raise UserError(STAGE, [Problem(str(path), rule, remedy=remedy)]) from error


def to_settings(cfg: DictConfig) -> dict[str, Any]:
    """Return a configuration as resolved, plain values."""
    settings: Any = OmegaConf.to_container(cfg, resolve=True)
    return settings


def resolve(cfg: DictConfig) -> None:
    """Replace the interpolations of a configuration by their values, in place.

    Raises:
        UserError: naming the keys whose interpolations have no value, or are escaped: config.yaml cannot hold them.
    """
    try:
        OmegaConf.resolve(cfg)
    except OmegaConfBaseException as error:
        reason = f"cannot be resolved: {str(error).splitlines()[0]}"
        raise UserError(STAGE, _find_unresolved(cfg) or [Problem("conf", reason)]) from error
    if problems := _find_unresolved(cfg):
        raise UserError(STAGE, problems)


def _find_unresolved(cfg: DictConfig) -> list[Problem]:
    unresolved: Any = OmegaConf.to_container(cfg, resolve=False)
    remedy = "${NAME} stands for the value of the key NAME, ${oc.env:NAME} for an environment variable."
    problems = []
    for key, value in flatten(unresolved).items():
        if isinstance(value, str) and "${" in value:
            try:
                OmegaConf.select(cfg, key)
                rule = "still contains ${ after it is resolved; config.yaml cannot store that"
                problems.append(Problem(key, rule, value, remedy))
            except OmegaConfBaseException as error:
                problems.append(Problem(key, str(error).splitlines()[0], value, remedy))
    return problems


def format_settings(settings: Mapping[str, Any]) -> str:
    """Return settings as the YAML text of a run's config.yaml."""
    return OmegaConf.to_yaml(OmegaConf.create(dict(settings)))


def parse_settings(text: str) -> dict[str, Any]:
    """Parse the YAML text of a run's config.yaml without importing anything it names.

    Raises:
        ValueError: if the text is not YAML, or contains tags, aliases, interpolations or values that are not plain.
    """
    settings = _parse_plain(text)
    return _parse_checked(text) if settings is None else settings


def _parse_plain(text: str) -> dict[str, Any] | None:
    """Parse text with libyaml; return None for text that may be invalid, and where libyaml is missing."""
    loader = make_fast_loader()
    if loader is None:
        return None
    try:
        _check_events(text, loader)
        settings = yaml.load(text, loader)
        if isinstance(settings, dict):
            _check_plain("", settings)
            return settings
    except (yaml.YAMLError, ValueError, TypeError):
        pass  # found again by the slower parser, whose messages are better
    return None


def _parse_checked(text: str) -> dict[str, Any]:
    try:
        _check_events(text, yaml.SafeLoader)
        cfg = OmegaConf.create(text)
        settings: Any = OmegaConf.to_container(cfg, resolve=False)
    except (yaml.YAMLError, OmegaConfBaseException, TypeError, AssertionError) as error:
        raise ValueError(f"is invalid YAML: {error}") from error
    if not isinstance(cfg, DictConfig) or not isinstance(settings, dict):
        raise ValueError("must contain keys and values")
    _check_plain("", settings)
    return settings


def _check_events(text: str, loader: Any) -> None:
    """Raise ValueError for aliases and deep nesting; with either, a few lines can take hours to parse."""
    depth = 0
    for event in yaml.parse(text, loader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if isinstance(event, yaml.AliasEvent):
            raise ValueError("contains an alias (*name)")
        if depth > MAX_DEPTH:
            raise ValueError(f"nests lists and keys more than {MAX_DEPTH} levels deep")


def _check_plain(key: str, value: Any) -> None:
    """Raise ValueError for a value that config.yaml never contains."""
    if isinstance(value, dict):
        for name, child in value.items():
            _check_plain("", name)
            if not isinstance(name, str):
                raise ValueError(f"{key}: a key must be text, not {name!r}")
            _check_plain(f"{key}.{name}".lstrip("."), child)
    elif isinstance(value, list):
        for index, child in enumerate(value):
            _check_plain(f"{key}[{index}]", child)
    elif isinstance(value, str):
        if "${" in value:
            raise ValueError(f"{key}: contains an interpolation, {value}; config.yaml of a run is resolved")
    elif not isinstance(value, bool | int | float | None):
        raise ValueError(f"{key}: contains an unsupported value, a {type(value).__name__}")
