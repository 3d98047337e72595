"""Instantiate objects from YAML nodes (`_target_` plus arguments).

`validate_node` compares every node with the signature of its target and returns all problems at once; `instantiate`
constructs a valid node.
"""

import functools
import importlib
import inspect
from collections.abc import Callable, Iterator, Mapping, Set
from typing import Any, Self

import hydra.utils
from omegaconf import DictConfig, ListConfig, OmegaConf

from viewfinder.config.moved import current_target, update_targets
from viewfinder.config.validate import accepts_any_argument, format_value, read_signature, validate_value
from viewfinder.errors import Problem, UserError, did_you_mean, format_exception, join_names

ImportTarget = Callable[[Any, str], Callable[..., Any]]

STAGE = "the configuration"
TARGET_REMEDY = "It must be a dotted path, for example viewfinder.models.simple_cnn.SimpleCNN or my_file.MyClass."


def instantiate(node: DictConfig | Mapping[str, Any], key: str, **supplied: Any) -> Any:
    """Construct the object that a valid node describes.

    Args:
        node: `_target_` and arguments.
        key: key of the node in the configuration, for errors.
        supplied: arguments from Viewfinder; those missing from the signature are dropped.

    Raises:
        UserError: if the constructor fails.
    """
    plain = _to_plain(node)
    signature = read_signature(import_target(plain["_target_"]))
    accepted = {name: value for name, value in supplied.items() if name in signature}
    try:
        return _construct(plain, accepted)
    except UserError:
        raise
    except Exception as error:
        raise UserError(STAGE, [_describe_failure(plain, key, error.__cause__ or error, accepted)]) from error


def accepts_argument(node: Mapping[str, Any] | None, name: str) -> bool:
    """Return whether the target of a node has an argument of this name; False without a node."""
    return bool(node) and name in read_signature(import_target(node["_target_"]))  # type: ignore[index]


def validate_node(group: str, node: Any, supplied: Set[str], import_by_group: ImportTarget) -> list[Problem]:
    """Validate the node of a group and all nodes inside it; return the problems.

    Args:
        group: key of the node in the configuration.
        node: `_target_` and arguments; may be empty for an optional group.
        supplied: names of the arguments that are passed to `instantiate`.
        import_by_group: imports the `_target_` of a group, or of "" for a node within another's arguments.
    """
    plain = _to_plain(node)
    if plain and not (isinstance(plain, dict) and "_target_" in plain):
        return [Problem(group, "must contain the key _target_ and arguments", format_value(plain), TARGET_REMEDY)]
    return [
        problem
        for key, inner in iterate_nodes(group, plain)
        for problem in _validate_arguments(key, inner, supplied if inner is plain else set(), import_by_group)
    ]


def import_target(target: Any) -> Callable[..., Any]:
    """Import the object at a dotted path from any package; `viewfinder.config.trust` restricts the packages.

    Raises:
        UserError: if the path is invalid, its module is missing or fails, or the module lacks the name.
    """
    target = current_target(target) if isinstance(target, str) else target
    module_name, _, name = target.rpartition(".") if isinstance(target, str) else ("", "", "")
    remedy = TARGET_REMEDY
    if not module_name or not all(part.isidentifier() for part in target.split(".")):
        raise UserError(STAGE, [Problem("_target_", "is not a dotted path", format_value(target), remedy)])
    try:
        module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:  # a script that was never meant to be imported may exit
        missing = error.name if isinstance(error, ModuleNotFoundError) and error.name else None
        if missing and (module_name == missing or module_name.startswith(f"{missing}.")):
            rule = f"module {missing} not found"
        else:
            rule = f"importing {module_name} fails: {format_exception(error)}"
            remedy = f"Fix it in {module_name}; python -c 'import {module_name}' shows the full traceback."
        raise UserError(STAGE, [Problem("_target_", rule, str(target), remedy)]) from error
    if not hasattr(module, name):
        public = [word for word in dir(module) if not word.startswith("_")]
        rule = f"{module_name} has no {name}. {did_you_mean(name, public)}"
        raise UserError(STAGE, [Problem("_target_", rule.strip(), str(target), remedy)])
    return getattr(module, name)


class _ImportedTarget(functools.partial[Any]):
    """A callable that Hydra calls directly, without looking it up by name."""

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self


def _construct(node: dict[str, Any], supplied: Mapping[str, Any]) -> Any:
    # OmegaConf cannot hold objects such as parameters: Hydra binds the YAML's arguments, the others are passed on.
    partial = hydra.utils.instantiate({**_import_targets(node), "_partial_": True}, _convert_="all")
    return partial(**supplied)


def _import_targets(node: Any, recursive: Any = True) -> Any:
    """Replace the `_target_` of a node, and of every node in it that Hydra constructs, by the imported callable."""
    if isinstance(node, list):
        return [_import_targets(child, recursive) for child in node]
    if not isinstance(node, dict):
        return node
    recursive = node.get("_recursive_", recursive)
    if "_target_" not in node:
        return {name: _import_targets(child, recursive) for name, child in node.items()}
    # Without _recursive_ the arguments are data, passed on unchanged.
    arguments = {name: _import_targets(child, recursive) for name, child in node.items()} if recursive else node
    return {**arguments, "_target_": _ImportedTarget(import_target(node["_target_"]))}


def _to_plain(node: Any) -> Any:
    """Convert a node to plain values, with every `_target_` at its present path."""
    plain = OmegaConf.to_container(node, resolve=True) if isinstance(node, DictConfig | ListConfig) else node
    return update_targets(plain)


def iterate_nodes(key: str, node: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every node with a `_target_` in a plain configuration, with its key."""
    if isinstance(node, dict):
        if "_target_" in node:
            yield key, node
        for name, child in node.items():
            yield from iterate_nodes(f"{key}.{name}", child)
    elif isinstance(node, list):
        for index, child in enumerate(node):
            yield from iterate_nodes(f"{key}[{index}]", child)


def list_targets(settings: Mapping[str, Any]) -> set[str]:
    """Return every `_target_` of a configuration of plain values."""
    return {str(node["_target_"]) for _, node in iterate_nodes("", settings)}


def _validate_arguments(
    key: str, node: dict[str, Any], supplied: Set[str], import_by_group: ImportTarget
) -> list[Problem]:
    try:
        function = import_by_group(node["_target_"], "" if "." in key or "[" in key else key)
    except UserError as error:
        problem = error.problems[0]
        return [Problem(f"{key}._target_", problem.rule, problem.received, problem.remedy)]
    target, signature, problems = node["_target_"], read_signature(function), []
    names = [name for name in signature if name not in supplied]
    for name, value in node.items():
        if name in ("_target_", "_partial_", "_convert_", "_recursive_", "_args_"):
            continue
        if value == "???":
            problems.append(Problem(f"{key}.{name}", "is required", remedy=f"Add {key}.{name}=..."))
        elif name in signature and name in supplied:
            problems.append(Problem(f"{key}.{name}", "is set by Viewfinder", format_value(value), "Remove it."))
        elif name in signature:
            problems += validate_value(f"{key}.{name}", value, *signature[name])
        elif signature and not accepts_any_argument(function):
            rule = did_you_mean(name, names) or f"is not an argument of {target}"
            remedy = f"Its arguments: {join_names(names)}."
            problems.append(Problem(f"{key}.{name}", rule, format_value(value), remedy))
    for name, (_, default) in signature.items():
        if default is inspect.Parameter.empty and not (name in node or name in supplied or node.get("_partial_")):
            rule, remedy = f"is a required argument of {target}", f"Add +{key}.{name}=..."
            problems.append(Problem(f"{key}.{name}", rule, remedy=remedy))
    return problems


def _describe_failure(node: dict[str, Any], key: str, cause: BaseException, supplied: Mapping[str, Any]) -> Problem:
    """Describe why a constructor failed; name an argument if its default value would avoid the failure."""
    target = node["_target_"]
    signature = read_signature(import_target(target))
    suspects = []
    for name in node if isinstance(cause, ValueError) else ():
        if name not in signature or signature[name][1] is inspect.Parameter.empty:
            continue
        rest = {argument: value for argument, value in node.items() if argument != name}
        try:
            _construct(rest, supplied)
        except Exception as error:
            if str(error) == str(cause):  # fails in the same way without this argument
                continue
        suspects.append(name)
    place = f"{key}.{suspects[0]}" if len(suspects) == 1 else key
    received = format_value(node[suspects[0]]) if len(suspects) == 1 else None
    if isinstance(cause, ValueError):
        return Problem(place, f"is invalid for {target}: {cause}", received, "See its documentation for valid values.")
    rule = f"{target} fails: {format_exception(cause)}"
    return Problem(place, rule, received, f"Fix that line, or the arguments in {key}.")
