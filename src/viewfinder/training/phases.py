"""Training phases: which parameters train, for how many epochs, at which learning rates."""

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
    """Sequence of training phases of one network.

    Epochs count from 0. Until `enter` is called, every parameter that any phase trains is trainable.

    Args:
        phases: maps a phase's name to the arguments of its Phase.
        network: the network to train.
        max_epochs: number of epochs of all phases together.
        lr: the optimizer's learning rate; None for an optimizer without one.

    Raises:
        UserError: if the network does not name its head, or lacks a part that a phase names.
    """

    def __init__(self, phases: Mapping[str, Mapping[str, Any]], network: nn.Module, max_epochs: int, lr: float | None):
        if not isinstance(network, Transferable) or not network.head_name:
            rule = f"training in phases needs a network that names its head; {type(network).__name__} does not"
            remedy = (
                "Subclass viewfinder.models.transfer.Transferable and end __init__ with self.transfer(...), "
                "or set phases=none."
            )
            raise UserError(STAGE, [Problem("model._target_", rule, remedy=remedy)])
        self.network, self.max_epochs = network, max_epochs
        self.phases = {name: Phase(**arguments) for name, arguments in phases.items()}
        self.names = [*phases]
        self.starts = [first - 1 for first in find_first_epochs(phases).values()]
        """first epoch of each phase"""
        self.blocks = list_blocks(network, network.head_name)
        self.parts = {name: self._find_parts(name, phase.train) for name, phase in self.phases.items()}
        self.rates = {name: self._check_rate(name, phase.lr or lr) for name, phase in self.phases.items()}
        network.freeze_except([*itertools.chain(*self.parts.values())])

    def at(self, epoch: int) -> str:
        """Return the name of an epoch's phase; after training, the name of the last phase."""
        return self.names[bisect.bisect_right(self.starts, epoch) - 1]

    def is_phase_start(self, epoch: int) -> bool:
        """Return whether an epoch is the first of a phase."""
        return epoch in self.starts

    def is_backbone_unchanged(self, epoch: int) -> bool:
        """Return whether only the head trains up to and including an epoch."""
        names = self.names[: self.names.index(self.at(epoch)) + 1]
        return all(self.network.is_in_head(part) for name in names for part in self.parts[name])

    def is_last_phase(self, epoch: int) -> bool:
        """Return whether an epoch belongs to the last phase."""
        return epoch >= self.starts[-1]

    def epochs(self, name: str) -> range:
        """Return a phase's epochs."""
        index = self.names.index(name)
        return range(self.starts[index], [*self.starts[1:], self.max_epochs][index])

    def enter(self, epoch: int) -> list[dict[str, Any]]:
        """Make only the parameters of an epoch's phase trainable, and return their groups."""
        self.network.freeze_except(self.parts[self.at(epoch)])
        return self.groups(epoch)

    def groups(self, epoch: int) -> list[dict[str, Any]]:
        """Return the parameters of an epoch's phase.

        Returns:
            Parameter groups for an optimizer, sorted by learning rate, the highest first. Parameters that the previous
            phase trained are in separate groups, because a fused optimizer needs state for all parameters of a group
            or for none.
        """
        name = self.at(epoch)
        previous = self.parts[self.names[max(0, self.names.index(name) - 1)]]
        groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
        for key, parameter in self.network.named_parameters():
            if self.network.is_trained(key, self.parts[name]):
                group = (self._rate_of(key, name), is_within(key, previous))
                groups.setdefault(group, []).append(parameter)
        return [{"params": groups[group], "lr": group[0]} for group in sorted(groups, reverse=True)]

    def highest_rates(self) -> list[float]:
        """Return the highest learning rate of each phase."""
        keys = [key for key, _ in self.network.named_parameters()]
        return [
            max(self._rate_of(key, name) for key in keys if is_within(key, parts)) for name, parts in self.parts.items()
        ]

    def describe(self, epoch: int) -> str:
        """Describe the phase of an epoch: name, epochs, parts, number of parameters, learning rate."""
        name = self.at(epoch)
        phase, epochs, parts = self.phases[name], self.epochs(name), self.parts[name]
        trained = sum(p.numel() for key, p in self.network.named_parameters() if self.network.is_trained(key, parts))
        train = join_names(phase.train) if isinstance(phase.train, list) else phase.train
        if isinstance(train, int):
            train = f"head and the last {train} blocks" if train > 1 else "head and the last block"
        decay = f", times {phase.layer_decay:g} per block" if phase.layer_decay != 1 else ""
        first, last = epochs[0] + 1, epochs[-1] + 1
        when = f"epochs {first} to {last}" if last > first else f"epoch {first}"
        return f"{printable(name)} ({when}): trains {train}, {trained:,} parameters, lr {self.rates[name]:g}{decay}"

    def describe_all(self) -> list[str]:
        """Describe each phase in turn."""
        return [self.describe(epoch) for epoch in self.starts]

    def _check_rate(self, name: str, lr: float | None) -> float:
        if lr is None:
            rule, remedy = "is missing, and optimizer.lr is not set", f"Add, for example, phases.{name}.lr=1e-3."
            raise UserError(STAGE, [Problem(f"phases.{name}.lr", rule, "null", remedy)])
        return lr

    def _rate_of(self, parameter: str, name: str) -> float:
        """Return a parameter's learning rate in a phase; it decays with each block between it and the head."""
        indices = [index for index, block in enumerate(self.blocks) if is_within(parameter, block)]
        distance = len(self.blocks) - indices[0] if indices else 0
        return self.rates[name] * self.phases[name].layer_decay ** distance

    def _find_parts(self, name: str, train: str | int | list[str]) -> list[str]:
        """Return the names of the modules and parameters that a phase trains; '' for the whole network."""
        network, count = self.network, len(self.blocks)
        if isinstance(train, int):
            if train > count:
                rule = f"is more than {network.architecture} has: {count} blocks before its head"
                raise self._invalid_train(name, rule, str(train), f"Use a number up to {count}, or all.")
            return [network.head_name, *itertools.chain(*self.blocks[count - train :])]
        return [self._find_part(name, part) for part in ([train] if isinstance(train, str) else train)]

    def _find_part(self, name: str, part: str) -> str:
        network = self.network
        special = {"all": "", "head": network.head_name}
        if part in special:
            return special[part]
        parameters = [key for key, _ in network.named_parameters()]
        for candidate in (part, f"backbone.{part}"):  # Pretrained prefixes torchvision's names
            if any(is_within(key, [candidate]) for key in parameters):
                return candidate
        modules = [module for module, _ in network.named_modules()]
        top = [child for child, _ in network.named_children()]
        rule = "has no parameters" if part in modules else did_you_mean(part, [*special, *modules])
        remedy = f"Use all, head, a number of blocks, or names of parts, such as {join_names(top)}."
        raise self._invalid_train(name, rule or f"{network.architecture} has no such module or parameter", part, remedy)

    def _invalid_train(self, name: str, rule: str, received: str, remedy: str) -> UserError:
        return UserError(STAGE, [Problem(f"phases.{name}.train", rule, received, remedy)])
