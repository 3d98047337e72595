"""The phases of a training: parts of a network in turn, each block at its learning rate."""

import bisect
import itertools
from collections.abc import Mapping
from typing import Any

from torch import nn

from viewfinder.config.instantiate import STAGE
from viewfinder.config.phases import Phase, find_first_epochs
from viewfinder.errors import Problem, UserError, did_you_mean, join_names, printable
from viewfinder.models.blocks import list_blocks
from viewfinder.models.transfer import Transferable, is_within


class Phases:
    """Phases of a network's training, in turn. Until `enter` is called all is trained that any of them trains.

    Args:
        phases: name -> arguments of a Phase, as a checked configuration has them.
        network: of which parts are trained.
        max_epochs: of all phases together.
        lr: the optimizer's learning rate; None for an optimizer that has none.

    Raises:
        UserError: if the network does not say what its head is, or has no such parts.
    """

    def __init__(self, phases: Mapping[str, Mapping[str, Any]], network: nn.Module, max_epochs: int, lr: float | None):
        if not isinstance(network, Transferable) or not network.head_name:
            rule = f"{type(network).__name__} does not say what its head is"
            remedy = "Make it a viewfinder.models.transfer.Transferable whose __init__ ends with self.transfer(...)."
            raise UserError(STAGE, [Problem("model._target_", rule, remedy=remedy)])
        self.network, self.max_epochs = network, max_epochs
        self.phases = {name: Phase(**arguments) for name, arguments in phases.items()}
        self.names = [*phases]
        self.first = [first - 1 for first in find_first_epochs(phases).values()]
        """epoch of each phase, from 0"""
        self.blocks = list_blocks(network, network.head_name)
        self.parts = {name: self._parts(name, phase.train) for name, phase in self.phases.items()}
        self.rates = {name: self._rate(name, phase.lr or lr) for name, phase in self.phases.items()}
        network.freeze_except([*itertools.chain(*self.parts.values())])

    def at(self, epoch: int) -> str:
        """The phase of an epoch, from 0; of what comes after training, the last."""
        return self.names[bisect.bisect_right(self.first, epoch) - 1]

    def begins(self, epoch: int) -> bool:
        """Whether a phase does with this epoch, from 0."""
        return epoch in self.first

    def is_backbone_as_given(self, epoch: int) -> bool:
        """Whether in an epoch, from 0, and before it nothing but the head is trained."""
        so_far = self.names[: self.names.index(self.at(epoch)) + 1]
        return all(self.network.is_in_head(part) for name in so_far for part in self.parts[name])

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
        self.network.freeze_except(self.parts[name])
        groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
        for key, parameter in self.network.named_parameters():
            if parameter.requires_grad:
                group = (self._rate_of(key, name), is_within(key, before))
                groups.setdefault(group, []).append(parameter)
        return [{"params": groups[group], "lr": group[0]} for group in sorted(groups, reverse=True)]

    def highest_rates(self) -> list[float]:
        """The highest learning rate of what each phase trains."""
        keys = [key for key, _ in self.network.named_parameters()]
        return [
            max(self._rate_of(key, name) for key in keys if is_within(key, parts)) for name, parts in self.parts.items()
        ]

    def said(self, epoch: int) -> str:
        """The phase of an epoch, from 0, for a person."""
        name = self.at(epoch)
        phase, epochs, parts = self.phases[name], self.epochs(name), self.parts[name]
        trained = sum(p.numel() for key, p in self.network.named_parameters() if is_within(key, parts))
        what = join_names(phase.train) if isinstance(phase.train, list) else phase.train
        if isinstance(what, int):
            what = f"head and the last {what} blocks" if what > 1 else "head and the last block"
        decay = f", times {phase.layer_decay:g} a block" if phase.layer_decay != 1 else ""
        first, last = epochs[0] + 1, epochs[-1] + 1
        when = f"epochs {first} to {last}" if last > first else f"epoch {first}"
        return f"{printable(name)}, {when}: {what}, {trained:,} parameters, lr {self.rates[name]:g}{decay}"

    def all_said(self) -> list[str]:
        """As `said`, of each phase in turn."""
        return [self.said(epoch) for epoch in self.first]

    def _rate(self, name: str, lr: float | None) -> float:
        if lr is None:
            rule, remedy = "must be given: there is no optimizer.lr", f"Type phases.{name}.lr=1e-3, say."
            raise UserError(STAGE, [Problem(f"phases.{name}.lr", rule, "null", remedy)])
        return lr

    def _rate_of(self, parameter: str, name: str) -> float:
        """The learning rate of a parameter in a phase, which falls with each block between it and the head."""
        places = [place for place, block in enumerate(self.blocks) if is_within(parameter, block)]
        distance = len(self.blocks) - places[0] if places else 0
        return self.rates[name] * self.phases[name].layer_decay ** distance

    def _parts(self, name: str, wanted: str | int | list[str]) -> list[str]:
        """Names of modules and parameters; '' for the whole network."""
        network, count = self.network, len(self.blocks)
        if isinstance(wanted, int):
            if wanted > count:
                rule = f"{network.architecture} has {count} blocks before its head"
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
        remedy = f"It may be all, head, a number of blocks, or names of parts, such as {join_names(top)}."
        raise self._refused(name, rule or f"{network.architecture} has no such part", part, remedy)

    def _refused(self, name: str, rule: str, received: str, remedy: str) -> UserError:
        return UserError(STAGE, [Problem(f"phases.{name}.train", rule, received, remedy)])
