"""What a sweep's command line stands for: its jobs, each with its overrides and its whole configuration."""

import itertools
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

from hydra import initialize_config_dir
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from viewfinder.config.hydra_internals import Override, RangeSweep
from viewfinder.config.overrides import STAGE, add_user_conf, find_conf, list_options, list_values
from viewfinder.config.validate import Count, Text, validate_arguments
from viewfinder.errors import Problem, UserError
from viewfinder.sweeps.compose import Compositions

ONCE = ("sweep", "hydra", "output_dir")
"""What the whole sweep has one of."""
LAUNCHERS = ("basic", "joblib")
MOST = 10**6
"""Values of a key, of which a list is made before jobs are counted."""


class Planned(NamedTuple):
    """A job as it follows from the command line."""

    overrides: list[str]
    config: dict[str, Any]


@dataclass(frozen=True)
class Settings:
    """What belongs to the sweep as a whole: conf/config.yaml's group `sweep`, and two keys from elsewhere."""

    name: Text | None = None
    dry_run: bool = False
    rerun: bool | None = None
    max_failures: Count | None = None
    max_jobs: Count = 1000
    output_dir: Text = "outputs"
    n_jobs: Literal[-1] | Count | None = 1
    """as conf/hydra/launcher/joblib.yaml has it; 1 with Hydra's basic launcher"""


class Plan(NamedTuple):
    """What a command line stands for."""

    jobs: list[Planned]
    repeated: int
    """jobs of the line that are another's twin"""
    settings: Settings


def plan(parsed: Sequence[Override]) -> Plan:
    """Every combination of the values, in the order of Hydra's own multirun: the last key changes fastest.

    Args:
        parsed: what parse_overrides has passed.

    Raises:
        UserError: if there are no jobs or too many, or the line asks for what a sweep cannot do.
    """
    _check(parsed)
    words = {each.get_key_element(): _words(each) for each in parsed}  # of a key that is typed twice the last counts
    with initialize_config_dir(str(find_conf()), job_name="train", version_base="1.3"):
        groups = list_options(parsed)
        compositions = Compositions(
            add_user_conf(parsed), {key for key, o in _keyed(parsed) if o.key_or_group in groups}
        )
        try:
            settings = _settings(compositions, [values[0] for values in words.values()])
            count = math.prod(map(len, words.values()))
            if count > settings.max_jobs:
                rule = f"are more jobs than sweep.max_jobs, which is {settings.max_jobs:,}"
                counts = " x ".join(f"{len(values):,} of {key}" for key, values in words.items() if len(values) > 1)
                remedy = f"{counts}. Type fewer values, or add sweep.max_jobs={count}."
                raise UserError(STAGE, [Problem(f"{count:,} jobs", rule, remedy=remedy)])
            jobs = [Planned(_typed(line), compositions.config(line)) for line in itertools.product(*words.values())]
        except (HydraException, OmegaConfBaseException) as error:
            cause = str(error.__cause__ or error).strip().splitlines()[0]
            raise UserError(STAGE, [Problem("conf", f"these choices do not compose: {cause}")]) from error
    different = list({json.dumps(job.config, sort_keys=True): job for job in jobs}.values())
    for job in different:
        if (devices := job.config["trainer"].get("devices", 1)) != 1:
            rule = "a sweep runs each of its jobs in a single process"
            remedy = "Start runs of several processes one by one, without -m, or sweep with trainer.devices=1."
            raise UserError(STAGE, [Problem("trainer.devices", rule, str(devices), remedy)])
    return Plan(different, len(jobs) - len(different), settings)


def _keyed(parsed: Sequence[Override]) -> Iterator[tuple[str, Override]]:
    return ((each.get_key_element(), each) for each in parsed)


def _words(override: Override) -> list[str]:
    """One for each of its values."""
    return [f"{override.get_key_element()}={value}" for value in list_values(override)]


def _check(parsed: Sequence[Override]) -> None:
    typed_keys, problems = [each.key_or_group for each in parsed], []
    for override in parsed:
        key, typed = override.key_or_group, override.input_line or override.key_or_group
        rule, remedy = "", ""
        if key == "run_dir":
            rule, remedy = "is the place of a single run, and a sweep makes several", "Use output_dir=PATH."
        elif key.replace("/", ".").split(".")[0] in ONCE and override.is_sweep_override():
            rule = "takes one value: there is one for the whole sweep"
        elif override.is_interval_sweep():
            rule, remedy = (
                "has no end of values, and a sweep tries them all",
                "With Optuna: viewfinder search --help.",
            )
        elif (count := _count(override)) > MOST:
            rule, remedy = f"stands for {count:,} values", f"A sweep takes {MOST:,} at the very most."
        elif not count:
            rule = "stands for no value at all"
        elif key == "hydra/launcher" and list_values(override)[0] not in LAUNCHERS:
            rule = f"a sweep takes {' or '.join(LAUNCHERS)}"
            remedy = "joblib runs hydra.launcher.n_jobs at once on this machine, basic one after another."
        elif key == "hydra.launcher.n_jobs" and "hydra/launcher" not in typed_keys:
            rule, remedy = "is of another launcher", "Add hydra/launcher=joblib."
        elif key == "hydra/sweeper" and list_values(override) != ["basic"]:
            rule, remedy = "a sweep tries every combination of its values", "With Optuna: viewfinder search --help."
        if rule:
            problems.append(Problem(typed, rule, remedy=remedy))
    if problems:
        raise UserError(STAGE, problems)


def _count(override: Override) -> int:
    """How many values it stands for; of a range without making them."""
    value = override.value()
    if isinstance(value, RangeSweep):
        return max(0, math.ceil(((value.stop or 0) - (value.start or 0)) / value.step))
    return len(list_values(override))


def _settings(compositions: Compositions, line: Sequence[str]) -> Settings:
    whole: Any = OmegaConf.to_container(OmegaConf.masked_copy(compositions.of(line), ["sweep", "output_dir"]))
    place = {"output_dir": whole["output_dir"]}
    launcher = {"n_jobs": compositions.composed(line).hydra.launcher.get("n_jobs", 1)}
    keys = {"sweep.": whole["sweep"], "": place, "hydra.launcher.": launcher}
    problems = [problem for key, values in keys.items() for problem in validate_arguments(key, Settings, values)]
    quoted = f"A number goes in quotes: 'sweep.name=\"{whole['sweep'].get('name')}\"'."
    problems = [replace(each, remedy=quoted) if each.key == "sweep.name" else each for each in problems]
    if problems:
        raise UserError(STAGE, problems)
    return Settings(**whole["sweep"], **place, **launcher)


def _typed(line: Sequence[str]) -> list[str]:
    """Without what belongs to the sweep as a whole."""
    own = [word for word in line if word.lstrip("+").replace("/", ".").split(".")[0] not in ("sweep", "hydra")]
    return [*own, *(word for word in line if word.startswith("hydra.searchpath"))]
