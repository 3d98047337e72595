"""Augmentations in a configuration: the group `augment` and its validation."""

from collections.abc import Mapping
from typing import Any

from viewfinder.config.components import PACKAGE
from viewfinder.config.instantiate import ImportTarget, instantiate, validate_node
from viewfinder.config.validate import format_value
from viewfinder.errors import Problem, UserError

EXAMPLE = "For example augment=basic, 'augment=[crop,flip]' or augment=none."


def list_augmentations(augment: Mapping[str, Any] | None) -> dict[str, dict[str, Any]]:
    """Map the name of each augmentation to its node, in order; the name of one outside a list is ''.

    Args:
        augment: the group `augment`, which is valid: one node, or a node or null for each name.
    """
    if not augment:
        return {}
    if "_target_" in augment:
        return {"": dict(augment)}
    return {name: node for name, node in augment.items() if node is not None}


def make_key(name: str) -> str:
    """Return the key of an augmentation's node in the configuration."""
    return f"augment.{name}" if name else "augment"


def validate_augmentations(augment: Any, import_by_group: ImportTarget) -> list[Problem]:
    """Validate the group `augment`; return the problems.

    Args:
        augment: content of the group; may be empty.
        import_by_group: as in `validate_node`.
    """
    if augment and not isinstance(augment, dict):
        return [Problem("augment", "must map names to augmentations", format_value(augment), EXAMPLE)]
    problems = []
    for name, node in list_augmentations(augment).items():
        key = make_key(name)
        if not isinstance(node, dict) or "_target_" not in node:
            rule = "must contain the key _target_ and arguments, or be null"
            problems.append(Problem(key, rule, format_value(node), EXAMPLE))
            continue
        invalid = validate_node(key, node, set(), lambda target, _: import_by_group(target, "augment"))
        problems += (_find_combined(node, invalid) if not name else []) or invalid
    return problems


def try_augmentations(augment: Mapping[str, Any] | None) -> list[Problem]:
    """Construct each augmentation of a valid group; return the problems."""
    problems: list[Problem] = []
    for name, node in list_augmentations(augment).items():
        try:
            instantiate(node, make_key(name))
        except UserError as error:
            problems += error.problems
    return problems


def _find_combined(node: dict[str, Any], invalid: list[Problem]) -> list[Problem]:
    """Return the problem with augmentations beside one without a name, which Hydra has merged into it."""
    is_shipped = str(node["_target_"]).startswith(f"{PACKAGE}.")
    keys = {problem.key for problem in invalid}
    names = [name for name, value in node.items() if isinstance(value, dict) and "_target_" in value]
    others = [name for name in names if is_shipped or f"augment.{name}" in keys]
    if not others:
        return []
    class_name = str(node["_target_"]).rpartition(".")[2]
    rule = f"{class_name} cannot be combined with others, because it has no name in its file"
    remedy = f"In conf/augment/NAME.yaml, write it below a name: 'NAME: {{_target_: {node['_target_']}}}'."
    if is_shipped:
        remedy = f"In place of basic, list its parts: 'augment=[{','.join(dict.fromkeys(['crop', 'flip', *others]))}]'."
    return [Problem("augment", rule, remedy=remedy)]
