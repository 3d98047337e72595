"""The group `phases` of a configuration: what is trained, for how many epochs, at what learning rates."""

import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any

from omegaconf import DictConfig, OmegaConf
from pydantic import Field

from viewfinder.config.instantiate import check
from viewfinder.config.validate import Count, Positive, Text
from viewfinder.errors import Problem

CLASS = "names a class or how it is made, and a phase is none"
EXAMPLE = "{train: head, epochs: 3}"


@dataclass(frozen=True)
class Phase:
    """What is trained for some epochs.

    Args:
        train: all; head; a number of blocks, counted from the last, with the head; or names of modules or parameters.
        epochs: None, of the last phase alone: what is left of trainer.max_epochs.
        lr: learning rate; None for the optimizer's.
        layer_decay: what the learning rate of a block is, times that of the block after it (ULMFiT, arXiv 1801.06146;
            BEiT, arXiv 2106.08254).
    """

    train: Text | Count | Annotated[list[Text], Field(min_length=1)]
    epochs: Count | None = None
    lr: Positive | None = None
    layer_decay: Annotated[float, Field(gt=0, le=1)] = 1.0


def check_phases(phases: Any) -> list[Problem]:
    """What is wrong with the group `phases`: name -> arguments of a Phase, in the order in which they come."""
    if not phases:
        return []
    if not isinstance(phases, dict):
        return [Problem("phases", "must hold phases by name", str(phases), f"Such as head: {EXAMPLE}.")]
    problems = [problem for name, phase in phases.items() for problem in _check_entry(name, phase)]
    if problems:
        return problems
    problems = [
        Problem(f"phases.{name}.{key}", CLASS, remedy="Leave it out.")
        for name, phase in phases.items()
        for key, value in phase.items()
        if str(key).startswith("_") or (isinstance(value, dict) and "_target_" in value)
    ]
    problems = problems or [
        _said(problem, f"phases.{name}")
        for name, phase in phases.items()
        for problem in check(f"phases.{name}", {"_target_": "Phase", **phase}, set(), lambda *_: Phase)
    ]
    problems += [
        Problem(f"phases.{name}.train", "names a part twice", str(parts), "Name each once.")
        for name, phase in phases.items()
        if isinstance(parts := phase.get("train"), list) and len({*map(str, parts)}) < len(parts)
    ]
    rule = "must be given: the last phase alone has what is left"
    for name in [*phases][:-1]:
        if phases[name].get("epochs") is None:
            problems.append(Problem(f"phases.{name}.epochs", rule, "null", "Such as 3."))
    return problems


def _check_entry(name: Any, phase: Any) -> list[Problem]:
    """What is wrong with a name and what it holds, before its arguments are looked at."""
    key = f"phases.{name}"
    if not isinstance(name, str):
        return [Problem(key, "is no name of a phase: it must be text", remedy=f'Write it in quotes: "{name}".')]
    if isinstance(phase, dict):
        return []
    if name.startswith("_"):
        return [Problem(key, CLASS, remedy="Leave it out.")]
    rule = "is no phase: what it trains, and how, must be given by key"
    return [Problem(key, rule, json.dumps(phase), f"Such as {name}: {EXAMPLE}")]


def _said(problem: Problem, phase: str) -> Problem:
    """The problem with an argument of a phase, in the words of what it may be."""
    if problem.received is None or problem.key not in (f"{phase}.train", f"{phase}.epochs"):
        return problem
    if problem.key == f"{phase}.epochs":
        return replace(problem, remedy=f"Such as {phase}.epochs=3.")
    rule = "must be all, head, a number of last blocks from 1 on, or a list of names of parts"
    return replace(problem, rule=rule, remedy=f"Such as {phase}.train=head.")


def check_epochs(phases: Mapping[str, Mapping[str, Any]] | None, max_epochs: int | None) -> list[Problem]:
    """Whether phases, which are checked, have the epochs of the trainer between them."""
    if not phases:
        return []
    if max_epochs is None:
        return [Problem("trainer.max_epochs", "must be given: the last phase ends with it", remedy="Such as 20.")]
    *earlier, last = phases
    before = sum(phases[name]["epochs"] for name in earlier)
    if (epochs := phases[last].get("epochs")) is not None and before + epochs != max_epochs:
        rule = f"the last phase ends with trainer.max_epochs, {max_epochs}, after {before} of the phases before it"
        remedy = f"Type trainer.max_epochs={before + epochs}, or phases.{last}.epochs=null."
        return [Problem(f"phases.{last}.epochs", rule, str(epochs), remedy)]
    if before >= max_epochs:
        rule = f"leaves no epoch for {last}: the phases before it have {before}"
        shorter = " ".join(f"phases.{name}.epochs=1" for name in earlier)
        remedy = f"Type more than {before}; or {shorter} with {len(phases)} or more."
        return [Problem("trainer.max_epochs", rule, str(max_epochs), remedy)]
    return []


def phases_of(cfg: DictConfig) -> dict[str, dict[str, Any]]:
    """The group `phases` of a configuration: name -> arguments of a Phase; {} for a training without."""
    values: Any = OmegaConf.to_container(cfg, resolve=True)
    return values.get("phases") or {}


def first_epochs(phases: Mapping[str, Mapping[str, Any]]) -> dict[str, int]:
    """The epoch, from 1, with which each phase begins, as a checked configuration has them."""
    firsts = itertools.accumulate((phase["epochs"] for phase in [*phases.values()][:-1]), initial=1)
    return dict(zip(phases, firsts, strict=False))  # which are one more than phases where there are none
