"""Training phases in a configuration: the group `phases` and its validation."""

import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any

from pydantic import Field

from viewfinder.config.instantiate import validate_node
from viewfinder.config.validate import Count, Positive, Text
from viewfinder.errors import Problem

NOT_AN_ARGUMENT = "is not an argument of a phase"
EXAMPLE = "{train: head, epochs: 3}"


@dataclass(frozen=True)
class Phase:
    """Consecutive epochs that train the same parameters.

    Args:
        train: "all"; "head"; the number of final blocks to train with the head; or names of modules or parameters.
        epochs: their number; None, in the last phase only, for the rest of trainer.max_epochs.
        lr: learning rate; None for the optimizer's.
        layer_decay: learning rate of each block relative to the block after it (ULMFiT, arXiv 1801.06146; BEiT, arXiv
            2106.08254).
    """

    train: Text | Count | Annotated[list[Text], Field(min_length=1)]
    epochs: Count | None = None
    lr: Positive | None = None
    layer_decay: Annotated[float, Field(gt=0, le=1)] = 1.0


def validate_phases(phases: Any) -> list[Problem]:
    """Validate the group `phases`; return the problems.

    Args:
        phases: maps the name of each phase to its arguments, in the order of training.
    """
    if not phases:
        return []
    if not isinstance(phases, dict):
        return [Problem("phases", "must map names to phases", str(phases), f"For example head: {EXAMPLE}.")]
    problems = [problem for name, phase in phases.items() for problem in _validate_entry(name, phase)]
    if problems:
        return problems
    problems = [
        Problem(f"phases.{name}.{key}", NOT_AN_ARGUMENT, remedy="Remove it.")
        for name, phase in phases.items()
        for key, value in phase.items()
        if str(key).startswith("_") or (isinstance(value, dict) and "_target_" in value)
    ]
    problems = problems or [
        _rephrase(problem, f"phases.{name}")
        for name, phase in phases.items()
        for problem in validate_node(f"phases.{name}", {"_target_": "Phase", **phase}, set(), lambda *_: Phase)
    ]
    problems += [
        Problem(f"phases.{name}.train", "names a part twice", str(parts), "Name each part once.")
        for name, phase in phases.items()
        if isinstance(parts := phase.get("train"), list) and len({*map(str, parts)}) < len(parts)
    ]
    rule = "is required: only the last phase may leave it out"
    for name in [*phases][:-1]:
        if phases[name].get("epochs") is None:
            problems.append(Problem(f"phases.{name}.epochs", rule, "null", "For example 3."))
    return problems


def _validate_entry(name: Any, phase: Any) -> list[Problem]:
    """Validate the name and type of an entry, but not its arguments; return the problems."""
    key = f"phases.{name}"
    if not isinstance(name, str):
        return [Problem(key, "the name of a phase must be text", remedy=f'Quote it: "{name}".')]
    if isinstance(phase, dict):
        return []
    if name.startswith("_"):
        return [Problem(key, NOT_AN_ARGUMENT, remedy="Remove it.")]
    return [Problem(key, "must map arguments to values", json.dumps(phase), f"For example {name}: {EXAMPLE}")]


def _rephrase(problem: Problem, phase: str) -> Problem:
    """List the valid values in place of pydantic's message about each type."""
    if problem.received is None or problem.key not in (f"{phase}.train", f"{phase}.epochs"):
        return problem
    if problem.key == f"{phase}.epochs":
        return replace(problem, remedy=f"For example {phase}.epochs=3.")
    rule = "must be all, head, the number of final blocks to train, or a list of module names"
    return replace(problem, rule=rule, remedy=f"For example {phase}.train=head.")


def validate_phase_epochs(phases: Mapping[str, Mapping[str, Any]] | None, max_epochs: int | None) -> list[Problem]:
    """Return the problems with the epochs of valid phases, which must add up to trainer.max_epochs."""
    if not phases:
        return []
    if max_epochs is None:
        return [
            Problem(
                "trainer.max_epochs", "is required: it ends the last phase", remedy="For example trainer.max_epochs=20."
            )
        ]
    *earlier, last = phases
    before = sum(phases[name]["epochs"] for name in earlier)
    if (epochs := phases[last].get("epochs")) is not None and before + epochs != max_epochs:
        rule = f"the phases take {before} + {epochs} = {before + epochs} epochs, but trainer.max_epochs is {max_epochs}"
        remedy = f"Set trainer.max_epochs={before + epochs}, or phases.{last}.epochs=null."
        return [Problem(f"phases.{last}.epochs", rule, str(epochs), remedy)]
    if before >= max_epochs:
        rule = f"leaves no epoch for the phase {last}: earlier phases take {before}"
        shorter = " ".join(f"phases.{name}.epochs=1" for name in earlier)
        remedy = f"Set trainer.max_epochs={before + 1} or more, or shorten the earlier phases: {shorter}."
        return [Problem("trainer.max_epochs", rule, str(max_epochs), remedy)]
    return []


def find_first_epochs(phases: Mapping[str, Mapping[str, Any]]) -> dict[str, int]:
    """Map each valid phase to its first epoch, counted from 1."""
    firsts = itertools.accumulate((phase["epochs"] for phase in [*phases.values()][:-1]), initial=1)
    return dict(zip(phases, firsts, strict=False))  # one epoch more than phases if there are none
