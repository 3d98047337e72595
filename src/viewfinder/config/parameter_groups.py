"""Rules of parameter groups in a configuration: the group `parameter_groups` and its validation."""

from collections.abc import Iterable, Mapping
from typing import Annotated, Any

from pydantic import Field

from viewfinder.config.instantiate import ImportTarget, import_target, iterate_nodes, validate_node
from viewfinder.config.validate import Count, Positive, Text, format_value, read_signature, validate_value
from viewfinder.errors import Problem, did_you_mean, join_names


def rule_keys(
    match: Text | Annotated[list[Text], Field(min_length=1)],
    lr_factor: Positive | None = None,
    epochs: Count | None = None,
    optimizer: Annotated[dict[str, Any], Field(min_length=1)] | None = None,
) -> None:
    """Declare the types of a rule's keys other than arguments of the optimizer."""


OWN_KEYS = read_signature(rule_keys)
EXAMPLE = "{match: [bias], weight_decay: 0.0}"


def read_rules(groups: Mapping[str, Any] | None) -> dict[str, dict[str, Any]]:
    """Return the rules of valid parameter groups without the keys that are null."""
    return {
        name: {key: value for key, value in rule.items() if value is not None} for name, rule in (groups or {}).items()
    }


def optimizer_arguments(rule: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of the optimizer that a rule changes."""
    return {key: value for key, value in rule.items() if key not in OWN_KEYS}


def validate_parameter_groups(
    groups: Any, optimizer: Mapping[str, Any], has_phases: bool, import_optimizer: ImportTarget
) -> list[Problem]:
    """Validate the group `parameter_groups`; return the problems.

    Args:
        groups: maps the name of each rule to its keys.
        optimizer: the valid group `optimizer`.
        has_phases: whether training has phases, which set learning rates and freeze parameters.
        import_optimizer: imports the `_target_` of a rule's own optimizer.
    """
    if not groups:
        return []
    if not isinstance(groups, dict):
        rule, remedy = "must map names to rules", f"For example biases: {EXAMPLE}."
        return [Problem("parameter_groups", rule, str(groups), remedy)]
    problems = []
    for name, rule in groups.items():
        key = f"parameter_groups.{name}"
        if not isinstance(name, str) or name.startswith("_") or not isinstance(rule, dict):
            problems.append(Problem(key, "must be a name and a rule", format_value(rule), f"For example {EXAMPLE}."))
        else:
            problems += _validate_rule(key, rule, optimizer, import_optimizer)
            problems += _conflicts_with_phases(key, rule) if has_phases else []
    return problems


def _validate_rule(
    key: str, rule: dict[str, Any], optimizer: Mapping[str, Any], import_optimizer: ImportTarget
) -> list[Problem]:
    problems = []
    if not rule.get("match"):
        remedy = f"Name roles, modules or patterns of parameters, for example {key}.match=[bias]."
        received = format_value(rule["match"]) if "match" in rule else ""
        problems.append(Problem(f"{key}.match", "is required", received, remedy))
    rule = {name: value for name, value in rule.items() if value is not None}
    for name, (hint, default) in OWN_KEYS.items():
        if name in rule and not (name == "match" and problems):
            problems += validate_value(f"{key}.{name}", rule[name], hint, default)
    node: Any = rule.get("optimizer", optimizer)
    invalid = validate_node(f"{key}.optimizer", node, {"params"}, import_optimizer) if "optimizer" in rule else []
    if invalid or problems:
        return problems + invalid
    arguments, signature = optimizer_arguments(rule), read_signature(import_target(node["_target_"]))
    known = [*OWN_KEYS, *(name for name in signature if name != "params")]
    for name, value in arguments.items():
        place = f"{key}.{name}"
        if name not in known:
            rule_text = did_you_mean(str(name), known) or f"is not an argument of {node['_target_']}"
            remedy = f"Keys of a rule: {join_names(known)}."
            problems.append(Problem(place, rule_text, format_value(value), remedy))
        elif isinstance(value, dict) or [*iterate_nodes("", value)]:
            problems.append(Problem(place, "must be a plain value", format_value(value), "Remove it."))
        else:
            problems += validate_value(place, value, *signature[name])
    if "lr_factor" in rule and not isinstance(rule.get("lr", node.get("lr")), int | float):
        text = f"multiplies a learning rate, but {node['_target_']} has no lr"
        problems.append(Problem(f"{key}.lr_factor", text, remedy=f"Set {key}.lr, or remove lr_factor."))
    return problems


def _conflicts_with_phases(key: str, rule: Mapping[str, Any]) -> Iterable[Problem]:
    """Return the problems with the keys of a rule whose work the phases do."""
    reasons = {
        "lr": ("is set by the phases", f"Use {key}.lr_factor, or set phases=none."),
        "optimizer": ("cannot have its own learning rate beside those of the phases", "Set phases=none."),
        "epochs": ("is decided by the phases", "Let a phase train other parts, or set phases=none."),
    }
    return [
        Problem(f"{key}.{name}", text, format_value(rule[name]), remedy)
        for name, (text, remedy) in reasons.items()
        if rule.get(name) is not None
    ]
