"""Records: figures that the header of an experiment's YAML file reports, in comments that are YAML themselves."""

import itertools
import re
import shlex
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from viewfinder.config.own_files import find_conf, list_own_folders
from viewfinder.config.yaml_text import decode_yaml
from viewfinder.errors import Problem, UserError, did_you_mean, join_names

STAGE = "the record"
START = "# recorded:"
"""Line before a record; the record's lines are indented further."""
PLACEHOLDER = re.compile(r"[A-Z][A-Z_]+")
"""Value in a command that stands for the user's own, such as PICTURES."""
NUMBER = r"[01]\.\d+"
FIGURE = re.compile(rf"(?P<mean>{NUMBER})(?: ?(?:±|\+-) ?(?P<deviation>{NUMBER}))?")


class Figure(NamedTuple):
    """A recorded accuracy, as a fraction (0 to 1)."""

    mean: float
    deviation: float | None
    """sample standard deviation over seeds; None if none was recorded"""
    step: float
    """step of its last digit, to which it was rounded"""


def parse_figure(text: Any) -> Figure:
    """Parse an accuracy such as 0.6060 ±0.0017, or 0.9916 without a spread."""
    match = FIGURE.fullmatch(str(text))
    if match is None:
        raise ValueError("must be an accuracy from 0 to 1, such as 0.6060 ±0.0017")
    digits = min(len(number) - 2 for number in match.groups() if number)
    deviation = match["deviation"]
    return Figure(float(match["mean"]), float(deviation) if deviation else None, 10.0**-digits)


Accuracy = Annotated[Figure, BeforeValidator(parse_figure)]
CLOSED = ConfigDict(extra="forbid", arbitrary_types_allowed=True, populate_by_name=True)


class Scores(BaseModel):
    """Accuracies of one setting, as means over seeds."""

    model_config = CLOSED
    overrides: str = Field("", alias="with")
    """words for the end of the command"""
    precision: Literal["32-true", "tf32", "bf16-mixed", "16-mixed"] | None = None
    """precision of training, if the record says so"""
    val_epochs: list[Accuracy] = Field([], alias="val/epochs")
    """validation accuracy of each epoch, from the first"""
    val_best: Accuracy | None = Field(None, alias="val/best")
    val_last: Accuracy | None = Field(None, alias="val/last")
    test_best: Accuracy | None = Field(None, alias="test/best")
    test_last: Accuracy | None = Field(None, alias="test/last")


class Record(BaseModel):
    """Command, place and result of earlier runs."""

    model_config = CLOSED
    command: str
    seeds: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]
    date: date
    machine: str
    data: str = ""
    time: str = ""
    """time of the whole command"""
    note: str = ""
    scores: list[Scores] = []

    @model_validator(mode="after")
    def _require_seeds_for_spread(self) -> Self:
        figures = [
            figure for scores in self.scores
            for figure in (scores.val_best, scores.val_last, scores.test_best, scores.test_last, *scores.val_epochs)
        ]  # fmt: skip
        if len(set(self.seeds)) == 1 and any(figure and figure.deviation is not None for figure in figures):
            raise ValueError("a standard deviation needs several seeds")
        return self

    def settings(self) -> list[str]:
        """Return the distinct words at the end of the command; "" for the command alone."""
        return list(dict.fromkeys(scores.overrides for scores in self.scores))

    def build_overrides(self, setting: str, typed: Sequence[str], seed: int) -> list[str]:
        """Return the overrides of a run of one setting; typed ones replace those of the same key.

        Raises:
            UserError: naming the keys whose values the record leaves open.
        """
        recorded = [*self._words(), *shlex.split(setting)]
        latest = {_read_key(word): word for word in [*recorded, *typed, f"seed={seed}"]}
        if missing := [word.partition("=") for word in latest.values() if _is_open(word)]:
            rule = "is not in the record: its command leaves it open"
            raise UserError(STAGE, [Problem(key, rule, value, f"Add {key}=VALUE.") for key, _, value in missing])
        return list(latest.values())

    def find_gap(self, epochs: int | None) -> str:
        """Return why no run could be compared with this record, or ''.

        Args:
            epochs: number of epochs whose validation accuracies are compared; None for the final scores.
        """
        if not self.scores:
            return "The record has no accuracies."
        if epochs is not None and not any(scores.val_epochs for scores in self.scores):
            return "The record has no accuracies of single epochs (val/epochs). Leave out --epochs."
        return ""

    def open_keys(self) -> list[str]:
        """Return the keys whose values the command leaves open."""
        return [_read_key(word) for word in self._words() if _is_open(word)]

    def _words(self) -> list[str]:
        """Return the overrides of the command."""
        _, _, *words = shlex.split(self.command)  # python train.py, or viewfinder train
        return [word for word in words if not word.startswith("-")]


def _read_key(word: str) -> str:
    return word.partition("=")[0].lstrip("+~")


def _is_open(word: str) -> bool:
    return PLACEHOLDER.fullmatch(word.partition("=")[2]) is not None


def read_record(experiment: str) -> Record:
    """Read the record of an experiment from the header of its YAML file, the user's own or a shipped one.

    Raises:
        UserError: if there is no such experiment, or its header has no valid record.
    """
    files = _list_experiments()
    if experiment not in files:
        rule = did_you_mean(experiment, files) or "unknown experiment"
        raise UserError(STAGE, [Problem("EXPERIMENT", rule, experiment, f"Choices: {join_names(sorted(files))}.")])
    path = files[experiment]
    text = extract_record(decode_yaml(path))
    if text is None:
        recorded = [name for name in sorted(files) if extract_record(decode_yaml(files[name])) is not None]
        remedy = f"Experiments with a record: {join_names(recorded)}." if recorded else ""
        raise UserError(STAGE, [Problem("EXPERIMENT", "has no record in its header", experiment, remedy)])
    return parse_record(text, path)


def extract_record(text: str) -> str | None:
    """Return the YAML text of a record in the comments of a file; None if there is none."""
    lines = text.splitlines()
    if START not in lines:
        return None
    below = lines[lines.index(START) + 1 :]
    block = itertools.takewhile(lambda line: line.startswith("#  "), below)
    return "\n".join(line.removeprefix("#") for line in block)


def parse_record(text: str, path: Path) -> Record:
    """Parse a record.

    Raises:
        UserError: with a problem for each key that is missing, unknown or invalid.
    """
    remedy = "docs/records.md describes the form of a record."
    try:
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        rule = f"is invalid YAML below '{START}': {' '.join(str(error).split())}"
        raise UserError(STAGE, [Problem(str(path), rule, remedy=remedy)]) from error
    try:
        return Record.model_validate(values)
    except ValidationError as error:
        raise UserError(STAGE, [_describe(path, each, remedy) for each in error.errors()]) from error


def _describe(path: Path, error: Any, remedy: str) -> Problem:
    """Return the problem of one of pydantic's errors."""
    key = ": ".join([path.name, *filter(None, [".".join(map(str, error["loc"]))])])
    rules: dict[str, str] = {"extra_forbidden": "is an unknown key", "missing": "is missing"}
    message = str(error["msg"]).removeprefix("Value error, ")
    return Problem(key, rules.get(error["type"], message), remedy=remedy)


def _list_experiments() -> dict[str, Path]:
    """Map the names of experiments to their files; the user's own replace shipped ones."""
    folders = [find_conf(), *reversed(list_own_folders())]
    return {path.stem: path for folder in folders for path in sorted((folder / "experiment").glob("*.yaml"))}
