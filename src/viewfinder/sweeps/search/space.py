"""Search space, written in Hydra's grammar for sweeps."""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any, NamedTuple

from omegaconf import DictConfig, OmegaConf
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from viewfinder.config.hydra_internals import ChoiceSweep, IntervalSweep, Override, RangeSweep
from viewfinder.config.overrides import STAGE, compose_config, parse_overrides
from viewfinder.errors import Problem, UserError, join_names

LOG_FACTOR = 100
"""Ratio of positive bounds from which the scale is logarithmic by default."""
NOT_SEARCHABLE = ("seed", "name", "output_dir", "allow", "logger", "hydra")
"""Keys that cannot make one trial better than another."""
Value = float | int | str


class Parameter(NamedTuple):
    """Searched key and the distribution of its values; values of a choice are text from the command line."""

    key: str
    """as typed, with a leading + if there is one"""
    distribution: BaseDistribution
    is_log_by_default: bool = False
    """logarithmic because of LOG_FACTOR, without a tag"""

    @property
    def is_numeric(self) -> bool:
        return not isinstance(self.distribution, CategoricalDistribution)

    @property
    def scale(self) -> str:
        return "log" if getattr(self.distribution, "log", False) else "linear"

    def format_override(self, value: Value) -> str:
        """Return the override that sets the key to a value."""
        step = getattr(self.distribution, "step", None)
        if isinstance(self.distribution, FloatDistribution) and step is not None:  # 0.7, not 0.7000000000000001
            low = Decimal(str(self.distribution.low))
            value = float(low + round((value - float(low)) / step) * Decimal(str(step)))  # type: ignore[operator]
        return f"{self.key}={value}"

    def list_extremes(self) -> list[str]:
        """Return an override for each choice, or for both bounds."""
        distribution: Any = self.distribution
        values: Any = (distribution.low, distribution.high) if self.is_numeric else distribution.choices
        return [self.format_override(value) for value in values]

    def __str__(self) -> str:
        """Describe the values. search.json stores this text, which later versions compare: do not change it."""
        distribution: Any = self.distribution
        if not self.is_numeric:
            return join_names(str(choice) for choice in distribution.choices)
        text = f"{distribution.low:g} to {distribution.high:g}"
        if isinstance(distribution, IntDistribution):
            text += ", whole numbers"
        if distribution.step not in (None, 1):
            text += f" in steps of {distribution.step:g}"
        return f"{text}, log" if distribution.log else text


Space = dict[str, Parameter]
"""Parameters by their names in the study: the keys without a +."""


class SearchSpec(NamedTuple):
    """Space of a search and the overrides that all trials share."""

    overrides: list[str]
    """all overrides as typed"""
    space: Space
    fixed: list[str]
    """overrides that are not searched"""
    example: DictConfig
    """resolved configuration of one point of the space"""

    def build_overrides(self, values: Mapping[str, Value]) -> list[str]:
        """Return the overrides of a trial."""
        return [*self.fixed, *(parameter.format_override(values[name]) for name, parameter in self.space.items())]

    def iterate_corners(self) -> Iterator[tuple[str, list[str]]]:
        """Yield each choice and each bound once, as an override and with the overrides of a whole trial."""
        defaults = {name: parameter.list_extremes()[0] for name, parameter in self.space.items()}
        for name, parameter in self.space.items():
            for override in parameter.list_extremes():
                yield override, [*self.fixed, *(defaults | {name: override}).values()]


def parse_search_spec(overrides: list[str]) -> SearchSpec:
    """Separate searched overrides from fixed ones.

    Raises:
        UserError: naming every override that does not fit conf/, or cannot be searched.
    """
    parsed = parse_overrides(overrides)
    searched = [override for override in parsed if override.is_sweep_override()]
    problems = _find_key_problems(parsed, searched)
    if problems:
        raise UserError(STAGE, problems)
    fixed = [str(override.input_line) for override in parsed if override not in searched]
    first_choices = [
        f"{override.get_key_element()}={next(override.sweep_string_iterator())}"
        for override in searched
        if isinstance(override.value(), ChoiceSweep)
    ]
    defaults = compose_config([*fixed, *first_choices])
    space: Space = {}
    for override in searched:
        parameter = _parse_parameter(override, OmegaConf.select(defaults, override.key_or_group))
        if isinstance(parameter, Problem):
            problems.append(parameter)
        else:
            space[override.key_or_group] = parameter
    if problems:
        raise UserError(STAGE, problems)
    example = compose_config([*fixed, *(parameter.list_extremes()[0] for parameter in space.values())])
    return SearchSpec(overrides, space, fixed, example)


def check_corners(spec: SearchSpec, check: Callable[[DictConfig], None]) -> None:
    """Check the configuration of every choice and every bound.

    Args:
        spec: the specification.
        check: raises UserError for an invalid configuration.

    Raises:
        UserError: naming every problem, such as an optimizer that lacks a searched key.
    """
    problems: dict[tuple[str, str], Problem] = {}
    for override, trial_overrides in spec.iterate_corners():
        try:
            check(compose_config(trial_overrides))
        except UserError as error:
            for problem in error.problems:
                located = replace(problem, remedy=f"{problem.remedy}\nThis happens with {override}.")
                problems.setdefault((problem.key, problem.rule), located)
    if problems:
        raise UserError(STAGE, list(problems.values()))


def _find_key_problems(parsed: Sequence[Override], searched: Sequence[Override]) -> list[Problem]:
    problems = []
    for override in parsed:
        if override.key_or_group == "run_dir":
            rule = "sets the folder of a single run, but a search has several"
            problems.append(Problem("run_dir", rule, _value_text(override), "Use output_dir=PATH and --name."))
    searched_keys = {override.key_or_group for override in searched}
    for key, count in Counter(override.key_or_group for override in parsed).items():
        if count > 1 and key in searched_keys:
            problems.append(Problem(key, "is searched, so it must be given once only", remedy="Remove one of them."))
    for override in searched:
        if override.key_or_group.split(".")[0].split("/")[0] in NOT_SEARCHABLE:
            rule = "cannot be searched: no value of it makes a trial better"
            problem = Problem(override.key_or_group, rule, _value_text(override), "Give it one value, or remove it.")
            problems.append(problem)
        elif override.is_delete():
            problems.append(Problem(str(override.input_line), "cannot be searched: it deletes a key"))
    if not searched:
        remedy = "For example 'optimizer.lr=interval(1e-4,1e-1)', optimizer=adam,sgd or 'model.width=range(8,33,8)'."
        problems.append(Problem("the search", "has nothing to vary: every key has one value", remedy=remedy))
    return problems


def _value_text(override: Override) -> str:
    return str(override.input_line).partition("=")[2]


def _parse_parameter(override: Override, default: Any) -> Parameter | Problem:
    """Parse a searched override; return a Problem if it is invalid.

    Args:
        override: a searched override.
        default: value of its key in the composed configuration.
    """
    key, text, value = override.key_or_group, _value_text(override), override.value()
    tags = getattr(value, "tags", set())
    if tags and (not isinstance(value, IntervalSweep) or tags not in ({"log"}, {"linear"})):
        rule = f"has an unsupported tag: {join_names(sorted(tags))}"
        return Problem(key, rule, text, "An interval takes tag(log, ...) or tag(linear, ...).")
    if isinstance(value, ChoiceSweep):
        choices = list(dict.fromkeys(override.sweep_string_iterator()))
        if len(choices) < 2:
            return Problem(key, "is a choice from a single value", text, f"To fix it, use {key}={choices[0]}.")
        return Parameter(override.get_key_element(), CategoricalDistribution(choices))
    if isinstance(value, RangeSweep):
        return _parse_range(override, value)
    if isinstance(value, IntervalSweep):
        is_integer = isinstance(default, int) and not isinstance(default, bool)
        return _parse_interval(override, value, is_integer)
    remedy = "A search supports interval(a,b), range(a,b,step), choice(...) and a list of values."
    return Problem(key, "cannot be searched", text, remedy)


def _parse_range(override: Override, value: RangeSweep) -> Parameter | Problem:
    numbers = (value.start, value.stop, value.step)
    start, stop, step = (Decimal(str(number)) for number in numbers)
    count = math.ceil((stop - start) / step) if step else 0
    if count < 2:
        rule, remedy = f"has {'one value' if count == 1 else 'no values'}", "As in Python, range(a,b,step) excludes b."
        return Problem(override.key_or_group, rule, _value_text(override), remedy)
    low, high = sorted((start, start + (count - 1) * step))
    if all(isinstance(number, int) for number in numbers):
        return Parameter(override.get_key_element(), IntDistribution(int(low), int(high), step=int(abs(step))))
    distribution = FloatDistribution(float(low), float(high), step=float(abs(step)))
    return Parameter(override.get_key_element(), distribution)


def _parse_interval(override: Override, value: IntervalSweep, is_integer: bool) -> Parameter | Problem:
    key, text = override.key_or_group, _value_text(override)
    assert value.start is not None
    assert value.end is not None
    low, high = float(value.start), float(value.end)
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        return Problem(key, "needs two finite bounds, the smaller one first", text)
    if "log" in value.tags and low <= 0:
        remedy = "Use tag(linear, ...), or other bounds."
        return Problem(key, "has a logarithmic scale, which needs bounds above 0", text, remedy)
    if is_integer and not (low.is_integer() and high.is_integer()):
        remedy = f"For example interval({math.floor(low)},{math.ceil(high)})."
        return Problem(key, "takes whole numbers, but the bounds are not whole", text, remedy)
    is_wide = low > 0 and high / low >= LOG_FACTOR
    is_log = "log" in value.tags or (is_wide and "linear" not in value.tags)
    distribution = (
        IntDistribution(int(low), int(high), log=is_log) if is_integer else FloatDistribution(low, high, log=is_log)
    )
    return Parameter(override.get_key_element(), distribution, is_log and "log" not in value.tags)
