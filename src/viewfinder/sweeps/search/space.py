"""What a search may vary, written in Hydra's own grammar, and the words that a trial's values are typed by."""

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
"""Positive bounds so far apart are searched on a logarithmic scale."""
NEVER = ("seed", "name", "output_dir", "allow", "hydra")
"""Keys in which one trial is no better than another."""
Value = float | int | str


class Parameter(NamedTuple):
    """A key that is searched, and its values; those of a choice are the words that they are typed by."""

    key: str
    """as typed, with its + where it has one"""
    distribution: BaseDistribution
    is_log_by_rule: bool = False
    """since the bounds are far apart, not because it was asked for"""

    @property
    def is_numeric(self) -> bool:
        return not isinstance(self.distribution, CategoricalDistribution)

    @property
    def scale(self) -> str:
        return "log" if getattr(self.distribution, "log", False) else "linear"

    def word(self, value: Value) -> str:
        """The override that gives the key this value."""
        step = getattr(self.distribution, "step", None)
        if isinstance(self.distribution, FloatDistribution) and step is not None:  # 0.7, not 0.7000000000000001
            low = Decimal(str(self.distribution.low))
            value = float(low + round((value - float(low)) / step) * Decimal(str(step)))  # type: ignore[operator]
        return f"{self.key}={value}"

    def ends(self) -> list[str]:
        """The words of every choice, or of both bounds."""
        each: Any = self.distribution
        values: Any = each.choices if isinstance(each, CategoricalDistribution) else (each.low, each.high)
        return [self.word(value) for value in values]

    def __str__(self) -> str:
        each: Any = self.distribution
        if isinstance(each, CategoricalDistribution):
            return join_names(str(choice) for choice in each.choices)
        steps = f" in steps of {each.step:g}" if each.step not in (None, 1) else ""
        return f"{each.low:g} to {each.high:g}{', whole numbers' * isinstance(each, IntDistribution)}{steps}" + (
            ", log" if each.log else ""
        )


Space = dict[str, Parameter]
"""By the parameter's name in the study: its key without a +."""


class Typed(NamedTuple):
    """What was typed: the space, and what is the same in every trial."""

    overrides: list[str]
    """all of them"""
    space: Space
    fixed: list[str]
    first: DictConfig
    """a configuration of the space, resolved"""

    def words(self, values: Mapping[str, Value]) -> list[str]:
        """The overrides of a trial."""
        return [*self.fixed, *(each.word(values[name]) for name, each in self.space.items())]

    def corners(self) -> Iterator[tuple[str, list[str]]]:
        """Overrides in which every choice and every bound occurs, one after another, and which one that is."""
        first = {name: each.ends()[0] for name, each in self.space.items()}
        for name, each in self.space.items():
            for word in each.ends():
                yield word, [*self.fixed, *(first | {name: word}).values()]


def read_typed(overrides: list[str]) -> Typed:
    """Tell the space from what is fixed, by the command line.

    Raises:
        UserError: naming all that fits nothing in conf/, or cannot be searched.
    """
    parsed = parse_overrides(overrides)
    swept = [each for each in parsed if each.is_sweep_override()]
    problems = _check_keys(parsed, swept)
    if problems:
        raise UserError(STAGE, problems)
    fixed = [str(each.input_line) for each in parsed if each not in swept]
    chosen = [f"{each.get_key_element()}={next(each.sweep_string_iterator())}" for each in swept if _is_choice(each)]
    defaults = compose_config([*fixed, *chosen])
    space: Space = {}
    for each in swept:
        answer = _parameter(each, OmegaConf.select(defaults, each.key_or_group))
        if isinstance(answer, Problem):
            problems.append(answer)
        else:
            space[each.key_or_group] = answer
    if problems:
        raise UserError(STAGE, problems)
    return Typed(overrides, space, fixed, compose_config([*fixed, *(each.ends()[0] for each in space.values())]))


def check_corners(typed: Typed, check: Callable[[DictConfig], None]) -> None:
    """Compose the configurations of all corners, and have each checked.

    Raises:
        UserError: naming all that is wrong with one, such as an optimizer without a key that is searched.
    """
    problems: dict[tuple[str, str], Problem] = {}
    for word, words in typed.corners():
        try:
            check(compose_config(words))
        except UserError as error:
            for each in error.problems:
                said = replace(each, remedy=f"{each.remedy}\nThat is with {word}.")
                problems.setdefault((each.key, each.rule), said)
    if problems:
        raise UserError(STAGE, list(problems.values()))


def _check_keys(parsed: Sequence[Override], swept: Sequence[Override]) -> list[Problem]:
    problems = []
    for each in parsed:
        if each.key_or_group == "run_dir":
            rule, remedy = "is the place of a single run, and a search makes several", "Use output_dir=PATH and --name."
            problems.append(Problem("run_dir", rule, _typed(each), remedy))
    for name, times in Counter(each.key_or_group for each in parsed).items():
        if times > 1 and any(each.key_or_group == name for each in swept):
            problems.append(Problem(name, "is given twice, and is to be searched", remedy="Leave one of them out."))
    for each in swept:
        if each.key_or_group.split(".")[0].split("/")[0] in NEVER:
            rule = "cannot be searched: in it one trial is no better than another"
            problems.append(Problem(each.key_or_group, rule, _typed(each), "Give it one value, or leave it out."))
        elif each.is_delete():
            problems.append(Problem(str(each.input_line), "cannot be searched: it takes a key away"))
    if not swept:
        remedy = "Such as 'optimizer.lr=interval(1e-4,1e-1)', optimizer=adam,sgd or 'model.width=range(8,33,8)'."
        problems.append(Problem("the space", "nothing is searched: every key has one value", remedy=remedy))
    return problems


def _is_choice(override: Override) -> bool:
    return isinstance(override.value(), ChoiceSweep)


def _typed(override: Override) -> str:
    return str(override.input_line).partition("=")[2]


def _parameter(override: Override, default: Any) -> Parameter | Problem:
    """What a swept override says, or what is wrong with it.

    Args:
        default: the key's value where it is not searched.
    """
    key, typed, value = override.key_or_group, _typed(override), override.value()
    tags = getattr(value, "tags", set())
    if tags and (not isinstance(value, IntervalSweep) or tags not in ({"log"}, {"linear"})):
        rule = f"has a tag that says nothing here: {join_names(sorted(tags))}"
        return Problem(key, rule, typed, "An interval takes tag(log, ...) or tag(linear, ...).")
    if isinstance(value, ChoiceSweep):
        words = list(dict.fromkeys(override.sweep_string_iterator()))
        if len(words) < 2:
            return Problem(key, "is a choice from a single value", typed, f"Fix it: {key}={words[0]}")
        return Parameter(override.get_key_element(), CategoricalDistribution(words))
    if isinstance(value, RangeSweep):
        return _range(override, value)
    if isinstance(value, IntervalSweep):
        return _interval(override, value, isinstance(default, int) and not isinstance(default, bool))
    remedy = "A search knows interval(a,b), range(a,b,step), choice(...) and a list of values."
    return Problem(key, "cannot be searched", typed, remedy)


def _range(override: Override, value: RangeSweep) -> Parameter | Problem:
    key, numbers = override.key_or_group, (value.start, value.stop, value.step)
    start, stop, step = (Decimal(str(number)) for number in numbers)
    count = math.ceil((stop - start) / step) if step else 0
    if count < 2:
        remedy = "As in Python, range(a,b,step) ends before b."
        return Problem(key, f"has {'one value' if count == 1 else 'no values'}", _typed(override), remedy)
    low, high = sorted((start, start + (count - 1) * step))
    if all(isinstance(number, int) for number in numbers):
        return Parameter(override.get_key_element(), IntDistribution(int(low), int(high), step=int(abs(step))))
    distribution = FloatDistribution(float(low), float(high), step=float(abs(step)))
    return Parameter(override.get_key_element(), distribution)


def _interval(override: Override, value: IntervalSweep, is_whole: bool) -> Parameter | Problem:
    key, typed = override.key_or_group, _typed(override)
    assert value.start is not None
    assert value.end is not None
    low, high = float(value.start), float(value.end)
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        return Problem(key, "needs two finite bounds, the smaller one first", typed)
    if "log" in value.tags and low <= 0:
        return Problem(key, "a logarithmic scale needs bounds above 0", typed, "Use tag(linear, ...), or other bounds.")
    if is_whole and not (low.is_integer() and high.is_integer()):
        return Problem(key, "is a whole number, and so must its bounds be", typed)
    is_far = low > 0 and high / low >= LOG_FACTOR
    is_log = "log" in value.tags or (is_far and "linear" not in value.tags)
    distribution = (
        IntDistribution(int(low), int(high), log=is_log) if is_whole else FloatDistribution(low, high, log=is_log)
    )
    return Parameter(override.get_key_element(), distribution, is_log and "log" not in value.tags)
