"""Jobs of a sweep, planned from its command line."""

import itertools
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

from hydra import initialize_config_dir
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from viewfinder.config.hydra_internals import Override, RangeSweep
from viewfinder.config.overrides import STAGE, find_conf, list_options, list_values
from viewfinder.config.paths import expand_paths
from viewfinder.config.validate import Count, Text, validate_arguments
from viewfinder.errors import Problem, UserError
from viewfinder.sweeps.compose import Composer
from viewfinder.sweeps.experiment import add_sweep_params
from viewfinder.sweeps.launcher import compose_launcher, find_launcher_problems, is_local

SINGLE_VALUED = ("sweep", "hydra", "output_dir")
"""Groups and keys that belong to the sweep as a whole."""
MAX_VALUES = 10**6
"""Values of one key; they are listed before the jobs are counted."""


class PlannedJob(NamedTuple):
    """One job that a command line requests, not yet matched with the jobs of a sweep."""

    overrides: list[str]
    config: dict[str, Any]


@dataclass(frozen=True)
class SweepSettings:
    """Settings of the sweep as a whole: the group `sweep` of conf/config.yaml, and two other keys."""

    name: Text | None = None
    dry_run: bool = False
    rerun: bool | None = None
    max_failures: Count | None = None
    max_jobs: Count = 1000
    output_dir: Text = "outputs"
    wait: bool = True
    """wait for the jobs of a scheduler, and report their results"""
    n_jobs: Literal[-1] | Count | None = 1
    """as in conf/hydra/launcher/joblib.yaml; 1 with Hydra's basic launcher"""


class Plan(NamedTuple):
    """Jobs and sweep settings that a command line requests."""

    jobs: list[PlannedJob]
    duplicates: int
    """number of jobs left out because they equal another"""
    settings: SweepSettings
    launcher: dict[str, Any]
    """keys of hydra/launcher; with `_target_`, the class of an executor"""


def plan_jobs(parsed: Sequence[Override]) -> Plan:
    """Compose the configuration of every combination of values.

    The order is as in Hydra's own multirun: the last key changes fastest; keys that the experiment sweeps come first.

    Args:
        parsed: overrides that `parse_overrides` has accepted.

    Raises:
        UserError: if there are no jobs or too many, or a sweep does not support an override.
    """
    parsed = add_sweep_params(parsed)
    _check_overrides(parsed)
    values = {override.get_key_element(): _expand_override(override) for override in parsed}  # the last of a key counts
    with initialize_config_dir(str(find_conf()), job_name="train", version_base="1.3"):
        groups = list_options(parsed)
        group_keys = {override.get_key_element() for override in parsed if override.key_or_group in groups}
        composer = Composer(group_keys)
        try:
            first = [choices[0] for choices in values.values()]
            launcher = compose_launcher(composer, first)
            settings = _read_settings(composer, first, launcher)
            count = math.prod(map(len, values.values()))
            if count > settings.max_jobs:
                rule = f"exceed sweep.max_jobs, which is {settings.max_jobs:,}"
                counts = " x ".join(
                    f"{len(choices):,} values of {key}" for key, choices in values.items() if len(choices) > 1
                )
                remedy = f"{counts}. Use fewer values, or add sweep.max_jobs={count}."
                raise UserError(STAGE, [Problem(f"{count:,} jobs", rule, remedy=remedy)])
            combinations = itertools.product(*values.values())
            jobs = [PlannedJob(_job_overrides(choice), composer.compose_run(choice)) for choice in combinations]
        except (HydraException, OmegaConfBaseException) as error:
            cause = str(error.__cause__ or error).strip().splitlines()[0]
            raise UserError(STAGE, [Problem("conf", f"these choices cannot be combined: {cause}")]) from error
    unique = list({json.dumps(job.config, sort_keys=True): job for job in jobs}.values())
    if is_local(launcher):
        _require_single_processes(unique)
    return Plan(unique, len(jobs) - len(unique), settings, launcher)


def _require_single_processes(jobs: Sequence[PlannedJob]) -> None:
    """Raise UserError if a job has several processes: a local sweep would start too many at once."""
    for job in jobs:
        for key in ("devices", "num_nodes"):
            if (count := job.config["trainer"].get(key, 1)) != 1:
                rule = "must be 1: a sweep on this machine runs each job in a single process"
                remedy = f"Start multi-process runs one by one without -m, or add trainer.{key}=1, or choose a "
                remedy += "launcher with a scheduler, such as hydra/launcher=submitit_slurm."
                raise UserError(STAGE, [Problem(f"trainer.{key}", rule, str(count), remedy)])


def _expand_override(override: Override) -> list[str]:
    """Split an override into one override for each value."""
    return [f"{override.get_key_element()}={value}" for value in list_values(override)]


def _check_overrides(parsed: Sequence[Override]) -> None:
    """Raise UserError naming every override that a sweep does not support."""
    problems = []
    for override in parsed:
        key, text = override.key_or_group, override.input_line or override.key_or_group
        rule, remedy = "", ""
        if key == "run_dir":
            rule, remedy = "sets the folder of a single run, but a sweep has several", "Use output_dir=PATH."
        elif key.replace("/", ".").split(".")[0] in SINGLE_VALUED and override.is_sweep_override():
            rule = "takes one value for the whole sweep"
        elif override.is_interval_sweep():
            rule = "is an interval, but a sweep tries every value"
            remedy = "To search it with Optuna, see viewfinder search --help."
        elif (count := _count_values(override)) > MAX_VALUES:
            rule, remedy = f"has {count:,} values", f"A sweep supports at most {MAX_VALUES:,} for a key."
        elif not count:
            rule = "has no values"
        elif key == "hydra/sweeper" and list_values(override) != ["basic"]:
            rule = "is unsupported; a sweep tries every combination of its values"
            remedy = "To search with Optuna, see viewfinder search --help."
        if rule:
            problems.append(Problem(text, rule, remedy=remedy))
    if problems:
        raise UserError(STAGE, problems)


def _count_values(override: Override) -> int:
    """Count the values of an override, without listing the values of a range."""
    value = override.value()
    if isinstance(value, RangeSweep):
        return max(0, math.ceil(((value.stop or 0) - (value.start or 0)) / value.step))
    return len(list_values(override))


def _read_settings(composer: Composer, overrides: Sequence[str], launcher: dict[str, Any]) -> SweepSettings:
    cfg = composer.compose_unresolved(overrides)
    expand_paths(cfg)
    values: Any = {"sweep": OmegaConf.to_container(cfg.sweep, resolve=True)}
    output_dir = {"output_dir": cfg.output_dir}
    local = launcher if is_local(launcher) else {}
    sections = {"sweep.": values["sweep"], "": output_dir, "hydra.launcher.": local}
    problems = [
        problem
        for prefix, section in sections.items()
        for problem in validate_arguments(prefix, SweepSettings, section)
    ]
    remedy = f"Put a number in quotes: 'sweep.name=\"{values['sweep'].get('name')}\"'."
    problems = [replace(problem, remedy=remedy) if problem.key == "sweep.name" else problem for problem in problems]
    if problems := [*problems, *find_launcher_problems(launcher)]:
        raise UserError(STAGE, problems)
    return SweepSettings(**values["sweep"], **output_dir, **local)


def _job_overrides(overrides: Sequence[str]) -> list[str]:
    """Leave out overrides of the sweep and of Hydra, except for its search path."""
    own = [word for word in overrides if word.lstrip("+").replace("/", ".").split(".")[0] not in ("sweep", "hydra")]
    return [*own, *(word for word in overrides if word.startswith("hydra.searchpath"))]
