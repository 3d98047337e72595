"""Launcher of a sweep: the keys of hydra/launcher, checked before anything is composed."""

from collections.abc import Mapping, Sequence
from typing import Any

from hydra import initialize_config_dir

from viewfinder.config.hydra_internals import Override
from viewfinder.config.overrides import STAGE, find_conf, list_values, parse_overrides
from viewfinder.errors import Problem, UserError, did_you_mean, join_names
from viewfinder.sweeps.compose import Composer
from viewfinder.sweeps.executors.open import PACKAGE, validate_launcher

LOCAL = ("basic", "joblib")
"""Launchers whose jobs are child processes of the sweep."""
KEY = "hydra/launcher"
PREFIX = "hydra.launcher."


def compose_launcher(composer: Composer, overrides: Sequence[str]) -> dict[str, Any]:
    """Return the keys of the launcher that overrides choose; a local launcher has no `_target_`.

    Raises:
        UserError: if a key is unknown, or no executor stands behind the launcher.
    """
    base = [word for word in overrides if not word.lstrip("+~").startswith(PREFIX)]
    cfg = composer.compose_groups(base).hydra
    name, known = str(cfg.runtime.choices[KEY]), _to_plain(cfg.launcher)
    if problems := [problem for word in overrides if (problem := _find_problem(word, name, known))]:
        raise UserError(STAGE, problems)
    if name in LOCAL:
        known = _to_plain(composer.compose_groups(overrides).hydra.launcher)
        return {"n_jobs": known.get("n_jobs", 1)}
    if not str(known.get("_target_")).startswith(PACKAGE):
        rule = "is unsupported: this plugin of Hydra blocks until all jobs end, and fails when the first one fails"
        raise UserError(STAGE, [Problem(KEY, rule, name, "See docs/clusters.md for the launchers of Viewfinder.")])
    return _to_plain(composer.compose_groups(overrides).hydra.launcher)


def compose_search_launcher(overrides: list[str]) -> tuple[dict[str, Any], list[str]]:
    """Separate the overrides of a search's launcher from the others.

    Returns:
        Keys of the launcher; and the other overrides, or all of them if the launcher is local.

    Raises:
        UserError: if a value is invalid.
    """
    chosen = [word for word in overrides if word.lstrip("+~").startswith((f"{KEY}=", PREFIX))]
    parse_overrides(chosen)
    with initialize_config_dir(str(find_conf()), job_name="search", version_base="1.3"):
        launcher = compose_launcher(Composer({KEY}), chosen)
    if problems := find_launcher_problems(launcher):
        raise UserError(STAGE, problems)
    if is_local(launcher):
        return launcher, overrides
    return launcher, [word for word in overrides if word not in chosen]


def is_local(launcher: Mapping[str, Any]) -> bool:
    """Return whether the jobs are child processes of the sweep."""
    return "_target_" not in launcher


def find_launcher_problems(launcher: Mapping[str, Any]) -> list[Problem]:
    """Return the problems with the values of a launcher that is not local."""
    return [] if is_local(launcher) else validate_launcher(launcher)


def list_launcher_values(parsed: Sequence[Override]) -> list[str]:
    """Return the chosen launchers of a command line."""
    return [list_values(override)[0] for override in parsed if override.key_or_group == KEY]


def _find_problem(word: str, name: str, known: Mapping[str, Any]) -> Problem | None:
    """Return the problem with an override of a launcher's key, if it has one."""
    key, _, value = word.partition("=")
    text = key.lstrip("+~")
    if not text.startswith(PREFIX):
        return None
    key = text.removeprefix(PREFIX).partition(".")[0]
    keys = [other for other in known if other != "_target_"]
    if key == "n_jobs" and name != "joblib":
        return Problem(word, "belongs to another launcher", remedy="Add hydra/launcher=joblib.")
    if key in keys:
        return None
    if name == "basic":
        return Problem(word, "belongs to another launcher", remedy="Add hydra/launcher=NAME.")
    remedy = f"Keys of {name}: {join_names(keys)}."
    return Problem(text, did_you_mean(key, keys) or f"is not a key of hydra/launcher={name}", value or None, remedy)


def _to_plain(cfg: Any) -> dict[str, Any]:
    from omegaconf import OmegaConf

    plain: Any = OmegaConf.to_container(cfg, resolve=True)
    return plain
