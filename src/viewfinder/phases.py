"""The phases of a training: which parts of a network are trained, for how many epochs, at what learning rates."""

import bisect
import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from omegaconf import DictConfig, OmegaConf
from pydantic import Field
from torch import nn

from viewfinder.build import Count, Positive, Text, check
from viewfinder.errors import Problem, ViewfinderError, did_you_mean, listed
from viewfinder.models.blocks import blocks_of
from viewfinder.models.transfer import Transferable, is_within

STAGE = "the configuration"


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


def check_phases(phases: Any, max_epochs: Any) -> list[Problem]:
    """What is wrong with the group `phases`: name -> arguments of a Phase, in the order in which they come.

    Args:
        max_epochs: of the trainer; where it is no number, no sum is compared with it.
    """
    if not phases:
        return []
    if not isinstance(phases, dict) or not all(isinstance(phase, dict) for phase in phases.values()):
        return [Problem("phases", "must hold phases by name", remedy="See conf/phases/fine_tune.yaml.")]
    rule, remedy = "names a class or how it is made, and a phase is none", "Leave it out."
    problems = [
        Problem(f"phases.{name}.{key}", rule, remedy=remedy)
        for name, phase in phases.items()
        for key, value in phase.items()
        if str(key).startswith("_") or (isinstance(value, dict) and "_target_" in value)
    ]
    problems = problems or [
        problem
        for name, phase in phases.items()
        for problem in check(f"phases.{name}", {"_target_": "Phase", **phase}, set(), lambda *_: Phase)
    ]
    *earlier, (last, phase) = phases.items()
    for name, before in earlier:
        if before.get("epochs") is None:
            rule = "must be given: the last phase alone has what is left"
            problems.append(Problem(f"phases.{name}.epochs", rule, "null", "Such as 3."))
    if problems or not isinstance(max_epochs, int):
        return problems
    before = sum(phase["epochs"] for _, phase in earlier)
    if (epochs := phase.get("epochs")) is not None and before + epochs != max_epochs:
        rule = f"the last phase ends with trainer.max_epochs, {max_epochs}, after {before} of the phases before it"
        remedy = f"Type trainer.max_epochs={before + epochs}, or phases.{last}.epochs=null."
        problems.append(Problem(f"phases.{last}.epochs", rule, str(epochs), remedy))
    elif before >= max_epochs:
        rule = f"leaves no epoch for {last}: the phases before it have {before}"
        shorter = " ".join(f"phases.{name}.epochs=1" for name, _ in earlier)
        remedy = f"Type more than {before}; or {shorter} with {len(phases)} or more."
        problems.append(Problem("trainer.max_epochs", rule, str(max_epochs), remedy))
    return problems


def phases_of(cfg: DictConfig) -> dict[str, dict[str, Any]]:
    """The group `phases` of a configuration: name -> arguments of a Phase; {} for a training without."""
    values: Any = OmegaConf.to_container(cfg, resolve=True)
    return values.get("phases") or {}


def first_epochs(phases: Mapping[str, Mapping[str, Any]]) -> dict[str, int]:
    """The epoch, from 1, with which each phase begins, as a checked configuration has them."""
    firsts = itertools.accumulate((phase["epochs"] for phase in [*phases.values()][:-1]), initial=1)
    return dict(zip(phases, firsts, strict=False))  # which are one more than phases where there are none


class Phases:
    """Phases of a network's training, in turn. Until `enter` is called all is trained that any of them trains.

    Args:
        phases: name -> arguments of a Phase, as a checked configuration has them.
        network: of which parts are trained.
        max_epochs: of all phases together.
        lr: the optimizer's learning rate; None for an optimizer that has none.

    Raises:
        ViewfinderError: if the network does not say what its head is, or has no such parts.
    """

    def __init__(self, phases: Mapping[str, Mapping[str, Any]], network: nn.Module, max_epochs: int, lr: float | None):
        if not isinstance(network, Transferable) or not network.head_name:
            rule = f"{type(network).__name__} does not say what its head is"
            remedy = "Make it a viewfinder.models.transfer.Transferable whose __init__ ends with self.transfer(...)."
            raise ViewfinderError(STAGE, [Problem("model._target_", rule, remedy=remedy)])
        self.network, self.max_epochs = network, max_epochs
        self.phases = {name: Phase(**arguments) for name, arguments in phases.items()}
        self.names = [*phases]
        self.first = [first - 1 for first in first_epochs(phases).values()]
        """epoch of each phase, from 0"""
        self.blocks = blocks_of(network, network.head_name)
        self.parts = {name: self._parts(name, phase.train) for name, phase in self.phases.items()}
        self.rates = {name: self._rate(name, phase.lr or lr) for name, phase in self.phases.items()}
        network.train_only([*itertools.chain(*self.parts.values())])

    def at(self, epoch: int) -> str:
        """The phase of an epoch, from 0; of what comes after training, the last."""
        return self.names[bisect.bisect_right(self.first, epoch) - 1]

    def begins(self, epoch: int) -> bool:
        """Whether a phase does with this epoch, from 0."""
        return epoch in self.first

    def is_backbone_as_given(self, epoch: int) -> bool:
        """Whether in an epoch, from 0, and before it nothing but the head is trained."""
        so_far = self.names[: self.names.index(self.at(epoch)) + 1]
        return all(self.network.is_of_head(part) for name in so_far for part in self.parts[name])

    def is_last(self, epoch: int) -> bool:
        """Whether an epoch, from 0, is of the last phase."""
        return epoch >= self.first[-1]

    def epochs(self, name: str) -> range:
        """Those of a phase, from 0."""
        place = self.names.index(name)
        return range(self.first[place], [*self.first[1:], self.max_epochs][place])

    def enter(self, epoch: int) -> list[dict[str, Any]]:
        """Train what the phase of an epoch, from 0, says, and nothing else.

        Returns:
            Parameter groups for an optimizer, each with its learning rate, the highest first. Those that the phase
            before has trained are apart, since fused optimizers want a state of all in a group or of none.
        """
        name = self.at(epoch)
        before = self.parts[self.names[max(0, self.names.index(name) - 1)]]
        self.network.train_only(self.parts[name])
        rate, decay = self.rates[name], self.phases[name].layer_decay
        groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
        for key, parameter in self.network.named_parameters():
            if parameter.requires_grad:
                group = (rate * decay ** self._distance(key), is_within(key, before))
                groups.setdefault(group, []).append(parameter)
        return [{"params": groups[group], "lr": group[0]} for group in sorted(groups, reverse=True)]

    def said(self, epoch: int) -> str:
        """The phase of an epoch, from 0, for a person."""
        name = self.at(epoch)
        phase, epochs, parts = self.phases[name], self.epochs(name), self.parts[name]
        trained = sum(p.numel() for key, p in self.network.named_parameters() if is_within(key, parts))
        what = listed(phase.train) if isinstance(phase.train, list) else phase.train
        what = f"head and the last {what} blocks" if isinstance(what, int) else what
        decay = f", times {phase.layer_decay:g} a block" if phase.layer_decay != 1 else ""
        first, last = epochs[0] + 1, epochs[-1] + 1
        when = f"epochs {first} to {last}" if last > first else f"epoch {first}"
        return f"{name}, {when}: {what}, {trained:,} parameters, lr {self.rates[name]:g}{decay}"

    def _rate(self, name: str, lr: float | None) -> float:
        if lr is None:
            raise ViewfinderError(STAGE, [Problem(f"phases.{name}.lr", "must be given: there is no optimizer.lr")])
        return lr

    def _distance(self, name: str) -> int:
        """Of a parameter from the head, in blocks."""
        places = [place for place, block in enumerate(self.blocks) if is_within(name, block)]
        return len(self.blocks) - places[0] if places else 0

    def _parts(self, name: str, wanted: str | int | list[str]) -> list[str]:
        """Names of modules and parameters; '' for the whole network."""
        network, count = self.network, len(self.blocks)
        if isinstance(wanted, int):
            if wanted > count:
                rule = f"{network.kind} has {count} blocks before its head"
                raise self._refused(name, rule, str(wanted), "Type a smaller number, or all.")
            return [network.head_name, *itertools.chain(*self.blocks[count - wanted :])]
        return [self._part(name, part) for part in ([wanted] if isinstance(wanted, str) else wanted)]

    def _part(self, name: str, part: str) -> str:
        network = self.network
        special = {"all": "", "head": network.head_name}
        if part in special:
            return special[part]
        parameters = [key for key, _ in network.named_parameters()]
        for each in (part, f"backbone.{part}"):  # the latter is what torchvision calls it
            if any(is_within(key, [each]) for key in parameters):
                return each
        known = [module for module, _ in network.named_modules()]
        top = [child for child, _ in network.named_children()]
        rule = "has no parameters" if part in known else did_you_mean(part, [*special, *known])
        remedy = f"It may be all, head, a number of blocks, or names of parts, such as {listed(top)}."
        raise self._refused(name, rule or f"{network.kind} has no such part", part, remedy)

    def _refused(self, name: str, rule: str, received: str, remedy: str) -> ViewfinderError:
        return ViewfinderError(STAGE, [Problem(f"phases.{name}.train", rule, received, remedy)])
