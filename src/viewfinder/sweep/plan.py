"""What a sweep's command line stands for: its jobs, each with its overrides and its whole configuration."""

import itertools
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from hydra import compose, initialize_config_dir
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from viewfinder.build import Count, Text, check_values
from viewfinder.errors import Problem, ViewfinderError, listed
from viewfinder.overrides import STAGE, find_conf, groups_of, own_conf, plain_config, values_of

ONCE = ("sweep", "hydra", "output_dir")
"""What the whole sweep has one of."""
LAUNCHERS = ("basic", "joblib")


class Planned(NamedTuple):
    """A job as it follows from the command line."""

    overrides: list[str]
    config: dict[str, Any]


@dataclass(frozen=True)
class Settings:
    """What belongs to the sweep as a whole: conf/config.yaml's group `sweep`, and two keys from elsewhere."""

    name: Text | None
    dry_run: bool
    rerun: bool | None
    max_failures: Count | None
    max_jobs: Count
    output_dir: Text
    n_jobs: Literal[-1] | Count | None
    """as conf/hydra/launcher/joblib.yaml has it; 1 with Hydra's basic launcher"""


class Plan(NamedTuple):
    jobs: list[Planned]
    repeated: int
    """jobs of the line that are another's twin"""
    settings: Settings


def plan(parsed: Sequence[Override]) -> Plan:
    """Every combination of the values, in the order of Hydra's own multirun: the last key changes fastest.

    Args:
        parsed: what check_overrides has passed.

    Raises:
        ViewfinderError: if there are no jobs or too many, or the line asks for what a sweep cannot do.
    """
    words = {each.get_key_element(): _words(each) for each in parsed}  # of a key that is typed twice the last counts
    _check(parsed, words)
    with initialize_config_dir(str(find_conf()), job_name="train", version_base="1.3"):
        groups = groups_of(parsed)
        compositions = Compositions(own_conf(parsed), {key for key, o in _keyed(parsed) if o.key_or_group in groups})
        try:
            settings = _settings(compositions, [values[0] for values in words.values()])
            count = math.prod(map(len, words.values()))
            if count > settings.max_jobs:
                rule = f"are more jobs than sweep.max_jobs, which is {settings.max_jobs:,}"
                counts = " x ".join(f"{len(values):,} of {key}" for key, values in words.items() if len(values) > 1)
                remedy = f"{counts}. Type fewer values, or add sweep.max_jobs={count}."
                raise ViewfinderError(STAGE, [Problem(f"{count:,} jobs", rule, remedy=remedy)])
            jobs = [Planned(_typed(line), compositions.config(line)) for line in itertools.product(*words.values())]
        except (HydraException, OmegaConfBaseException) as error:
            cause = str(error.__cause__ or error).strip().splitlines()[0]
            raise ViewfinderError(STAGE, [Problem("conf", f"these choices do not compose: {cause}")]) from error
    different = list({json.dumps(job.config, sort_keys=True): job for job in jobs}.values())
    for job in different:
        if (devices := job.config["trainer"].get("devices", 1)) != 1:
            rule = "a sweep runs each of its jobs in a single process"
            remedy = "Start runs of several processes one by one, without -m, or sweep with trainer.devices=1."
            raise ViewfinderError(STAGE, [Problem("trainer.devices", rule, str(devices), remedy)])
    return Plan(different, len(jobs) - len(different), settings)


class Compositions:
    """Configurations of lines that share most of their words.

    Hydra takes a tenth of a second to compose one. Its choices of groups are composed once for each combination of
    them; values are then put in as Hydra itself does.

    Args:
        context: words for every line.
        choices: keys, with their + or ~, that are groups.
    """

    def __init__(self, context: list[str], choices: set[str]):
        self.context, self.choices = context, choices
        self.parser = OverridesParser.create()
        self.parsed: dict[str, Override] = {}
        self.known: dict[tuple[str, ...], DictConfig] = {}

    def composed(self, line: Sequence[str]) -> DictConfig:
        """Of the line's groups and Hydra's own words, with Hydra's block."""
        first = tuple(word for word in line if self._is_composed(word))
        if first not in self.known:
            self.known[first] = compose("config", [*self.context, *first], return_hydra_config=True)
        return self.known[first]

    def of(self, line: Sequence[str]) -> DictConfig:
        """Of the whole line, without Hydra's block, which interpolations look at until `plain_config` forgets it."""
        composed = self.composed(line)
        cfg = OmegaConf.masked_copy(composed, [str(key) for key in composed if key != "hydra"])
        values = [self._parse(word) for word in line if not self._is_composed(word)]
        ConfigLoaderImpl._apply_overrides_to_config(values, cfg)
        HydraConfig.instance().set_config(composed)
        return cfg

    def config(self, line: Sequence[str]) -> dict[str, Any]:
        """Resolved, as a run has it."""
        found: Any = OmegaConf.to_container(plain_config(self.of(line)))
        return found

    def _is_composed(self, word: str) -> bool:
        key = word.partition("=")[0]
        return key in self.choices or key.lstrip("+").split(".")[0] == "hydra"

    def _parse(self, word: str) -> Override:
        if word not in self.parsed:
            self.parsed[word] = self.parser.parse_overrides([word])[0]
        return self.parsed[word]


def _keyed(parsed: Sequence[Override]) -> Iterator[tuple[str, Override]]:
    return ((each.get_key_element(), each) for each in parsed)


def _words(override: Override) -> list[str]:
    """One for each of its values."""
    return [f"{override.get_key_element()}={value}" for value in values_of(override)]


def _check(parsed: Sequence[Override], words: dict[str, list[str]]) -> None:
    problems = []
    for key, override in _keyed(parsed):
        typed = override.input_line or key
        if key == "run_dir":
            rule = "is the place of a single run, and a sweep makes several"
            problems.append(Problem(key, rule, listed(values_of(override)), "Use output_dir=PATH and sweep.name=NAME."))
        elif key.replace("/", ".").split(".")[0] in ONCE and len(words[key]) != 1:
            problems.append(Problem(typed, "takes one value, of which the whole sweep is"))
        elif override.is_interval_sweep():
            remedy = "To search in an interval: viewfinder search --help."
            problems.append(
                Problem(typed, "a sweep tries every value, and an interval has no end of them", remedy=remedy)
            )
        elif not words[key]:
            problems.append(Problem(typed, "stands for no value at all"))
        elif key == "hydra/launcher" and words[key][0].partition("=")[2] not in LAUNCHERS:
            remedy = "joblib runs hydra.launcher.n_jobs at once on this machine, basic one after another."
            problems.append(Problem(typed, f"a sweep takes {' or '.join(LAUNCHERS)}", remedy=remedy))
        elif key == "hydra.launcher.n_jobs" and "hydra/launcher" not in words:
            problems.append(Problem(typed, "is of another launcher", remedy="Add hydra/launcher=joblib."))
        elif key == "hydra/sweeper" and words[key] != ["hydra/sweeper=basic"]:
            remedy = "To search with Optuna: viewfinder search --help."
            problems.append(Problem(typed, "a sweep tries every combination of its values", remedy=remedy))
    if problems:
        raise ViewfinderError(STAGE, problems)


def _settings(compositions: Compositions, line: Sequence[str]) -> Settings:
    whole: Any = OmegaConf.to_container(OmegaConf.masked_copy(compositions.of(line), ["sweep", "output_dir"]))
    place = {"output_dir": whole["output_dir"]}
    launcher = {"n_jobs": compositions.composed(line).hydra.launcher.get("n_jobs", 1)}
    keys = {"sweep.": whole["sweep"], "": place, "hydra.launcher.": launcher}
    problems = [problem for key, values in keys.items() for problem in check_values(key, Settings, values)]
    if problems:
        raise ViewfinderError(STAGE, problems)
    return Settings(**whole["sweep"], **place, **launcher)


def _typed(line: Sequence[str]) -> list[str]:
    """Without what belongs to the sweep as a whole."""
    own = [word for word in line if word.lstrip("+").replace("/", ".").split(".")[0] not in ("sweep", "hydra")]
    return [*own, *(word for word in line if word.startswith("hydra.searchpath"))]
