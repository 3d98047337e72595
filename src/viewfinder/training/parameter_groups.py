"""Parameter groups: rules that give some parameters other hyperparameters, or an optimizer of their own."""

import fnmatch
import itertools
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd
from torch.optim import Optimizer

from viewfinder.config.instantiate import STAGE, instantiate
from viewfinder.config.parameter_groups import optimizer_arguments, read_rules
from viewfinder.config.validate import format_value
from viewfinder.errors import Problem, UserError, did_you_mean, join_first, join_names
from viewfinder.models.transfer import is_within
from viewfinder.training.combined_optimizer import CombinedOptimizer

NORMS = (_NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)
ROLES = ("norm", "bias", "conv", "linear")
"""Parameters of normalisation layers, biases of any layer, weights of convolutions, weights of linear layers."""


class ParameterGroups:
    """Rules of the configuration, applied to the parameters of a network.

    A parameter may match several rules, if they do not set the same key to different values.

    Args:
        groups: maps the name of each rule to its keys.
        network: the network; rules are for its parameters that train, in any phase.
        optimizer: `_target_` and arguments of the optimizer of parameters that no rule gives another.

    Raises:
        UserError: if a rule matches no parameter, if rules contradict each other, or if they leave nothing to train.
    """

    def __init__(self, groups: Mapping[str, Any] | None, network: nn.Module, optimizer: Mapping[str, Any]):
        self.rules, self.network, self.optimizer = read_rules(groups), network, optimizer
        self.matching = self._match()
        """names of the rules that each parameter matches, by its name"""
        self.epochs = {
            parameter: min(limits)
            for parameter, names in self.matching.items()
            if (limits := [self.rules[name]["epochs"] for name in names if "epochs" in self.rules[name]])
        }
        """number of epochs that train a parameter, by its name, where a rule sets it"""
        if self.matching and self.epochs.keys() == self.matching.keys():
            rule = f"all parameters stop training after epoch {max(self.epochs.values())}"
            remedy = "Leave some of them out of the rules with epochs."
            raise UserError(STAGE, [Problem("parameter_groups", rule, remedy=remedy)])

    def make_optimizer(self, parameters: Iterable[Any]) -> Optimizer:
        """Make the optimizer of parameters, or of groups of them.

        The first group contains parameters with the learning rate of `optimizer`, if there are any.

        Raises:
            UserError: if an optimizer rejects its parameters or their hyperparameters.
        """
        parameters = list(parameters)
        if not self.rules or not parameters:
            return instantiate(self.optimizer, "optimizer", params=parameters)
        given = parameters if isinstance(parameters[0], dict) else [{"params": parameters}]
        names = {parameter: name for name, parameter in self.network.named_parameters()}
        groups: dict[str, list[dict[str, Any]]] = {"": []}
        """groups by the rule that has their optimizer; in each, those whose learning rate no rule changes come first"""
        unchanged: Counter[str] = Counter()
        for group in given:
            parts: dict[tuple[str, ...], list[nn.Parameter]] = {}
            for parameter in group["params"]:
                parts.setdefault(self.matching[names[parameter]], []).append(parameter)
            for rules, part in parts.items():
                owner = next((rule for rule in rules if "optimizer" in self.rules[rule]), "")
                settings, entries = self._settings(rules, owner, group), groups.setdefault(owner, [])
                position = len(entries) if "lr" in settings else unchanged[owner]
                entries.insert(position, {**group, **settings, "params": part})
                unchanged[owner] += "lr" not in settings
        optimizers = [self._make(owner, entries) for owner, entries in groups.items() if entries]
        return optimizers[0] if len(optimizers) == 1 else CombinedOptimizer(optimizers)

    def _settings(self, rules: tuple[str, ...], owner: str, group: Mapping[str, Any]) -> dict[str, Any]:
        """Return the hyperparameters that rules set for a part of a group."""
        settings: dict[str, Any] = {}
        for rule in rules:
            settings |= optimizer_arguments(self.rules[rule])
        factor = next((self.rules[rule]["lr_factor"] for rule in rules if "lr_factor" in self.rules[rule]), None)
        if factor is not None:
            node = self.rules[owner]["optimizer"] if owner else self.optimizer
            settings["lr"] = factor * settings.get("lr", group.get("lr", node.get("lr")))
        return settings

    def _make(self, owner: str, groups: list[dict[str, Any]]) -> Optimizer:
        node, key = self.optimizer, "optimizer"
        if owner:
            node, key = self.rules[owner]["optimizer"], f"parameter_groups.{owner}.optimizer"
        optimizer = instantiate(node, key, params=groups)
        unused = {name for group in groups for name in group} - {"params"} - optimizer.defaults.keys()
        if unused:
            rules = [name for name, rule in self.rules.items() if unused & rule.keys()]
            text = f"{node['_target_']} has one {join_names(sorted(unused))} for all parameters"
            keys = join_names(f"parameter_groups.{rule}" for rule in rules)
            raise UserError(STAGE, [Problem(keys, text, remedy=f"Set it in {key}.")])
        return optimizer

    def _match(self) -> dict[str, tuple[str, ...]]:
        """Return the names of the rules that each trained parameter matches."""
        roles = find_roles(self.network)
        trained = [name for name, parameter in self.network.named_parameters() if parameter.requires_grad]
        problems: list[Problem] = []
        found: dict[str, tuple[str, ...]] = dict.fromkeys(trained, ())
        for name, rule in self.rules.items():
            patterns = [rule["match"]] if isinstance(rule["match"], str) else rule["match"]
            matched = {pattern: [key for key in trained if matches(key, pattern, roles[key])] for pattern in patterns}
            # A network may lack one of several roles: one rule serves networks with and without normalisation.
            absent = [pattern for pattern, keys in matched.items() if not keys]
            absent = [pattern for pattern in absent if pattern not in ROLES or len(absent) == len(matched)]
            problems += [self._unmatched(name, pattern, trained, roles) for pattern in absent]
            for key in dict.fromkeys(itertools.chain(*matched.values())):
                found[key] = (*found[key], name)
        problems = problems or self._find_contradictions(found)
        if problems:
            raise UserError(STAGE, problems)
        return found

    def _unmatched(self, name: str, pattern: str, trained: list[str], roles: Mapping[str, set[str]]) -> Problem:
        rule = "matches no parameter that is trained"
        if any(matches(key, pattern, roles[key]) for key in roles):
            rule = "matches only parameters that are not trained"
        known = [*ROLES, *trained, *(key.rpartition(".")[0] for key in trained)]
        guess = "" if pattern in ROLES else did_you_mean(pattern, known)
        remedy = f"Roles are {join_names(ROLES)}. Parameters are {join_first(trained, 6)}."
        return Problem(f"parameter_groups.{name}.match", f"{rule}. {guess}".rstrip(), pattern, remedy)

    def _find_contradictions(self, found: Mapping[str, tuple[str, ...]]) -> list[Problem]:
        """Return a problem for each pair of rules that set a key of the same parameter to different values."""
        problems: dict[tuple[str, str, str], Problem] = {}
        for parameter, rules in found.items():
            for index, name in enumerate(rules):
                for other in rules[:index]:
                    ours, theirs = self.rules[name], self.rules[other]
                    for key in (ours.keys() & theirs.keys()) - {"match"}:
                        if ours[key] != theirs[key]:
                            rule = f"is {format_value(theirs[key])} in the rule {other}; both match {parameter}"
                            remedy = "Let only one of them match it, or set the same value in both."
                            place = f"parameter_groups.{name}.{key}"
                            problem = Problem(place, rule, format_value(ours[key]), remedy)
                            problems.setdefault((name, other, key), problem)
        return list(problems.values())


def find_roles(network: nn.Module) -> dict[str, set[str]]:
    """Return the roles of each parameter of a network, by its name."""
    roles: dict[str, set[str]] = {name: set() for name, _ in network.named_parameters()}
    for prefix, module in network.named_modules():
        for name, _ in module.named_parameters(prefix, recurse=False):
            if name not in roles:  # shared with an earlier module
                continue
            last = name.rpartition(".")[2]
            if isinstance(module, NORMS):
                roles[name].add("norm")
            if last == "bias" or last.endswith("_bias"):
                roles[name].add("bias")
            elif last == "weight" and isinstance(module, _ConvNd):
                roles[name].add("conv")
            elif last == "weight" and isinstance(module, nn.Linear):
                roles[name].add("linear")
    return roles


def matches(parameter: str, pattern: str, roles: set[str]) -> bool:
    """Return whether a role, a module's name or a pattern such as *.bias matches a parameter.

    The names of torchvision's modules need no prefix "backbone.".
    """
    if pattern in ROLES:
        return pattern in roles
    names = (parameter, parameter.removeprefix("backbone."))
    return any(is_within(name, [pattern]) or fnmatch.fnmatchcase(name, pattern) for name in names)
