"""Validate command-line overrides against conf/ before heavy imports, and compose a configuration from them.

Hydra stops at the first invalid override and accepts a misspelt one that begins with `+`. Here all overrides are
validated at once, each with a suggestion.
"""

from collections.abc import Sequence
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.errors import ConfigCompositionException, HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from viewfinder.config.experiment_sweep import require_no_sweep
from viewfinder.config.hydra_internals import (
    PRIMARY,
    Override,
    clear_hydra_config,
    expand_glob,
    list_group_options,
    list_groups,
    parse_override,
    set_hydra_config,
)
from viewfinder.config.own_files import find_conf
from viewfinder.config.paths import expand_home, expand_paths, quote_texts
from viewfinder.config.suggestions import describe_existing_key, describe_unknown_key, map_keys
from viewfinder.config.yaml_text import resolve
from viewfinder.errors import Problem, UserError, did_you_mean, join_names

ALLOW_PREFIX = "allow="
"""Prefix of an override that names trusted packages."""

MULTIPLE = {"augment": "crop,flip", "logger": "tensorboard,wandb", "parameter_groups": "bias_lr,muon"}
"""Groups that take several options, as in logger=[tensorboard,mlflow] -> an example."""
STAGE = "the command line"


def compose_config(overrides: list[str]) -> DictConfig:
    """Compose conf/ with overrides, as `train.py` does.

    Raises:
        UserError: with a problem for each invalid override, or if the experiment is a sweep.
    """
    overrides = quote_texts(overrides)
    parse_overrides(overrides)
    with initialize_config_dir(str(find_conf()), job_name="train", version_base="1.3"):
        cfg = compose(PRIMARY, overrides, return_hydra_config=True)
    require_no_sweep(cfg.hydra, overrides)
    set_hydra_config(cfg)
    return resolve_run_config(cfg)


def resolve_run_config(cfg: DictConfig) -> DictConfig:
    """Resolve the configuration of a run, without the groups `hydra` and `sweep`, and clear Hydra's own state.

    While Hydra's state is set, Lightning would start helper processes with arguments of its own for Hydra.

    Raises:
        UserError: if an interpolation or a home folder cannot be resolved.
    """
    run_cfg = OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key not in ("hydra", "sweep")])
    resolve(run_cfg)
    expand_paths(run_cfg)
    OmegaConf.set_struct(run_cfg, False)
    clear_hydra_config()
    return run_cfg


def parse_overrides(overrides: list[str]) -> list[Override]:
    """Parse and validate overrides without any import heavier than Hydra.

    Raises:
        UserError: with a problem for each override that is invalid or unknown in conf/.
    """
    parsed, problems = parse_each(quote_texts(overrides))
    for override in parsed:
        if override.key_or_group == "hydra.searchpath" and not isinstance(override.value(), list):
            remedy = "For example 'hydra.searchpath=[file:///my/conf]'."
            raise UserError(STAGE, [Problem(str(override.input_line), "must be a list of folders", remedy=remedy)])
    with initialize_config_dir(str(find_conf()), job_name="train", version_base="1.3"):
        options = list_options(parsed)
        for override in parsed:
            expand_glob(override, options.get(override.key_or_group, []))  # Hydra would ignore the user's own conf/
        choices = [override for override in parsed if override.key_or_group in options]
        for override in choices:
            problems += _validate_choice(override, options[override.key_or_group])
        if not problems:
            keys = [override for override in parsed if override not in choices]
            problems += _validate_keys(keys, choices, _find_searchpath(parsed))
    if problems:
        raise UserError(STAGE, problems)
    return parsed


def list_options(parsed: Sequence[Override]) -> dict[str, list[str]]:
    """Map each config group among the overrides to its options while Hydra is initialized."""
    searchpath = _find_searchpath(parsed)
    keys = {override.key_or_group for override in parsed}
    # Hydra would search all folders for a key with a dot, which is not a group.
    options = {key: list_group_options(key, searchpath) for key in keys if "." not in key}
    return {group: names for group, names in options.items() if names}


def _find_searchpath(parsed: Sequence[Override]) -> list[str]:
    return [str(override.input_line) for override in parsed if override.key_or_group == "hydra.searchpath"]


def list_values(override: Override) -> list[str]:
    """Return the values of an override as text; an interval(...), which is infinite, is one value."""
    if not override.is_sweep_override():
        return [str(override.get_value_element_as_str())]
    if override.is_interval_sweep():
        return [(override.input_line or "").partition("=")[2]]
    return [str(value) for value in override.sweep_string_iterator()]


def _split_options(group: str, value: str) -> list[str]:
    """Return the options in the value of a group: several in brackets, where the group takes several."""
    is_list = group in MULTIPLE and value.startswith("[") and value.endswith("]")
    return value[1:-1].split(",") if is_list else [value]


def parse_each(overrides: Sequence[str]) -> tuple[list[Override], list[Problem]]:
    """Parse overrides by Hydra's grammar; return them, and a problem for each with invalid syntax."""
    remedy = (
        "Write key=value without spaces, or key=v1,v2 with -m. Quote a value that contains = ( ) ~ , or spaces: "
        "'key=\"a b\"'."
    )
    parsed, problems = [], []
    for text in overrides:
        try:
            override = parse_override(text)
        except HydraException as error:
            problems.append(Problem(text, f"cannot be parsed: {_summarise_syntax_error(error)}", remedy=remedy))
            continue
        if override.key_or_group:
            parsed.append(override)
        else:
            problems.append(Problem(text, "cannot be parsed: the key before the = is missing", remedy=remedy))
    return parsed, problems


def read_path(override: str) -> str:
    """Return the path that an override sets.

    Raises:
        UserError: if it cannot be parsed.
    """
    parsed, problems = parse_each(quote_texts([override]))
    if problems:
        raise UserError(STAGE, problems)
    return expand_home(parsed[0].key_or_group, str(parsed[0].value()))


def _summarise_syntax_error(error: HydraException) -> str:
    """Return Hydra's reason without the override and the list of tokens that its grammar expects."""
    first, *rest = str(error.__cause__ or error).splitlines()
    reason = rest[0] if rest and first.startswith("Error parsing override") else first
    return reason.partition(" expecting ")[0]


def _validate_choice(override: Override, options: list[str]) -> list[Problem]:
    group, problems = override.key_or_group, []
    several = f"; for several, '{group}=[{MULTIPLE[group]}]'" if group in MULTIPLE else ""
    remedy = f"Choices: {join_names(options)}{several}."
    if override.is_add() or override.is_force_add():
        problems.append(describe_existing_key(override))
    if override.is_delete() and group != "experiment":
        remedy = f"Use {group}=none." if "none" in options else remedy
        return [Problem(override.input_line or group, "a group cannot be deleted", remedy=remedy)]
    for value in [option for text in list_values(override) for option in _split_options(group, text)]:
        if value not in options and not (value == "null" and group == "experiment"):
            rule = did_you_mean(value, options) or "unknown choice"
            problems.append(Problem(group, rule, value or "(empty)", remedy))
    return problems


def _validate_keys(keys: list[Override], choices: list[Override], searchpath: list[str]) -> list[Problem]:
    """Compose only the group choices, and check all other overrides against the result."""
    first_choices = [
        f"{'+' if choice.is_add() else ''}{choice.get_key_element().lstrip('+~')}={values[0]}"
        for choice in choices
        if not choice.is_delete() and (values := list_values(choice))
    ]
    try:
        cfg = compose(PRIMARY, [*searchpath, *first_choices])
    except YAMLError as error:
        rule = f"invalid YAML: {' '.join(str(error).split())}"
        remedy = "Indent with spaces, not tabs." if "'\\t'" in rule else "Fix that line."
        return [Problem("conf", rule, join_names(first_choices), remedy)]
    except (ConfigCompositionException, OmegaConfBaseException) as error:
        cause = str(error.__cause__ or error).strip().splitlines()[0]
        return [Problem("conf", f"these choices cannot be combined: {cause}", join_names(first_choices))]
    plain: Any = OmegaConf.to_container(cfg)
    if ignored := plain.get("experiment"):
        rule = f"has no effect on {join_names(map(str, ignored))}: it lacks the line '# @package _global_'"
        return [Problem("experiment", rule, remedy="Make this the first line of conf/experiment/NAME.yaml.")]
    defaults = map_keys(plain)
    groups = [group for group in list_groups(searchpath) if group != "hydra"]
    problems = []
    for override in keys:
        key = override.key_or_group
        if key.split(".")[0] == "hydra":
            continue
        if key in defaults and not override.is_add():
            problems += _validate_structure(override, defaults[key])
        else:
            problems += describe_unknown_key(override, defaults, groups, cfg)
    return problems


def _validate_structure(override: Override, default: Any) -> list[Problem]:
    """Check that a value does not replace a group of keys or a list by another type; return the problems."""
    if override.is_delete() or override.is_sweep_override():
        return []
    key, value = override.key_or_group, override.value()
    text = str(override.get_value_element_as_str())
    if isinstance(default, dict):
        names = [str(name) for name in default]
        if not isinstance(value, dict):
            example = next((name for name in names if name != "_target_"), "KEY")
            return [Problem(key, "is a group of keys", text, f"Set one of them, for example {key}.{example}=...")]
        remedy = f"Keys of {key}: {join_names(names)}." if names else f"Add it with a plus: +{key}.NAME=VALUE."
        return [
            Problem(f"{key}.{name}", did_you_mean(name, names) or "unknown key", remedy=remedy)
            for name in map(str, value)
            if name not in names
        ]
    if isinstance(default, list) and isinstance(value, dict):
        return [Problem(key, "must be a list", text, f"For example '{key}={default}'.")]
    return []
