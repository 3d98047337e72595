"""From YAML to objects: `_target_` names a class, the other keys are its arguments.

`check` compares every node with its class's signature and reports all that is wrong at once; `build` constructs what
has been checked.
"""

import functools
import importlib
import inspect
import traceback
from collections.abc import Callable, Iterator, Mapping, Set
from typing import Any, Self

import hydra.utils
from omegaconf import DictConfig, ListConfig, OmegaConf

from viewfinder.config.validate import check_value, shown, signature_of, takes_anything
from viewfinder.errors import Problem, UserError, did_you_mean, join_names

Find = Callable[[Any, str], Callable[..., Any]]

STAGE = "the configuration"
TARGET = "_target_ is a dotted path such as viewfinder.models.simple_cnn.SimpleCNN, or my_file.MyClass."


def build(node: DictConfig | Mapping[str, Any], key: str, **given: Any) -> Any:
    """The object a checked node describes, constructed with its own arguments and those `given`.

    Args:
        node: `_target_` and arguments.
        key: where the node stands in the configuration, for the error.
        given: arguments that no YAML holds; only those that the signature has are passed.

    Raises:
        UserError: if the constructor refuses, with what it said.
    """
    cls = locate(node["_target_"])
    accepted = {name: value for name, value in given.items() if name in signature_of(cls)}
    try:
        return _construct(_plain(node), accepted)
    except UserError:
        raise
    except Exception as error:
        cause = error.__cause__ or error
        raise UserError(STAGE, [_refused(node, key, cause, accepted)]) from error


def takes(node: Mapping[str, Any] | None, name: str) -> bool:
    """Whether what a node names has such an argument."""
    return bool(node) and name in signature_of(locate(node["_target_"]))  # type: ignore[index]


def check(group: str, node: Any, given: Set[str], find: Find) -> list[Problem]:
    """What is wrong with a group's node and the nodes within it.

    Args:
        node: `_target_` and arguments; nothing where a group may be empty.
        given: names of the arguments that `build` will pass.
        find: the class or function that a `_target_` names, for a group or for "" within another's arguments.
    """
    plain = _plain(node)
    if plain and not (isinstance(plain, dict) and "_target_" in plain):
        return [Problem(group, "must hold _target_ and arguments", shown(plain), TARGET)]
    return [
        problem
        for key, inner in nodes(group, plain)
        for problem in _check_node(key, inner, given if inner is plain else set(), find)
    ]


def locate(target: Any) -> Callable[..., Any]:
    """What is at a dotted path, imported from wherever it is: `viewfinder.config.trust` says what may be.

    Raises:
        UserError: saying whether the module is missing, it fails when imported, or it lacks the name.
    """
    module_name, _, name = target.rpartition(".") if isinstance(target, str) else ("", "", "")
    remedy = TARGET
    if not module_name or not all(part.isidentifier() for part in target.split(".")):
        raise UserError(STAGE, [Problem("_target_", "names no module", shown(target), remedy)])
    try:
        found = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:  # a script that was never meant to be imported may exit
        missing = error.name if isinstance(error, ModuleNotFoundError) and error.name else None
        if missing and (module_name == missing or module_name.startswith(f"{missing}.")):
            rule = f"there is no module {missing}"
        else:
            rule = f"importing {module_name} fails: {said(error)}"
            remedy = f"Mend that in {module_name}; python -c 'import {module_name}' shows the whole traceback."
        raise UserError(STAGE, [Problem("_target_", rule, str(target), remedy)]) from error
    if not hasattr(found, name):
        public = [word for word in dir(found) if not word.startswith("_")]
        rule = f"{module_name} has no {name}. {did_you_mean(name, public)}"
        raise UserError(STAGE, [Problem("_target_", rule.strip(), str(target), remedy)])
    return getattr(found, name)


class _Found(functools.partial[Any]):
    """What `locate` found, as a `_target_` that Hydra calls as it is: it has no name by which to find another thing."""

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self


def _construct(node: dict[str, Any], given: Mapping[str, Any]) -> Any:
    # Objects such as parameters are not for OmegaConf: Hydra binds what the YAML holds, the rest is passed on.
    partial = hydra.utils.instantiate({**_with_found(node), "_partial_": True}, _convert_="all")
    return partial(**given)


def _with_found(node: Any, recursive: Any = True) -> Any:
    """A node with callables as its `_target_`, and as those within it that Hydra constructs as well."""
    if isinstance(node, list):
        return [_with_found(child, recursive) for child in node]
    if not isinstance(node, dict):
        return node
    recursive = node.get("_recursive_", recursive)
    if "_target_" not in node:
        return {name: _with_found(child, recursive) for name, child in node.items()}
    # Without _recursive_ the arguments are data to be handed over as they are written.
    arguments = {name: _with_found(child, recursive) for name, child in node.items()} if recursive else node
    return {**arguments, "_target_": _Found(locate(node["_target_"]))}


def _plain(node: Any) -> Any:
    return OmegaConf.to_container(node, resolve=True) if isinstance(node, DictConfig | ListConfig) else node


def nodes(key: str, node: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every node with a `_target_` in a plain configuration, and where it stands."""
    if isinstance(node, dict):
        if "_target_" in node:
            yield key, node
        for name, child in node.items():
            yield from nodes(f"{key}.{name}", child)
    elif isinstance(node, list):
        for index, child in enumerate(node):
            yield from nodes(f"{key}[{index}]", child)


def targets(cfg: DictConfig) -> set[str]:
    """All that a configuration names by `_target_`."""
    return {str(node["_target_"]) for _, node in nodes("", OmegaConf.to_container(cfg))}


def _check_node(key: str, node: dict[str, Any], given: Set[str], find: Find) -> list[Problem]:
    try:
        function = find(node["_target_"], "" if "." in key or "[" in key else key)
    except UserError as error:
        problem = error.problems[0]
        return [Problem(f"{key}._target_", problem.rule, problem.received, problem.remedy)]
    signature, problems = signature_of(function), []
    names = [name for name in signature if name not in given]
    for name, value in node.items():
        if name in ("_target_", "_partial_", "_convert_", "_recursive_", "_args_"):
            continue
        if value == "???":
            problems.append(Problem(f"{key}.{name}", "must be given", remedy=f"Type {key}.{name}=..."))
        elif name in signature and name in given:
            problems.append(Problem(f"{key}.{name}", "is handed over by Viewfinder", shown(value), "Leave it out."))
        elif name in signature:
            problems += check_value(f"{key}.{name}", value, *signature[name])
        elif signature and not takes_anything(function):
            rule = did_you_mean(name, names) or f"{node['_target_']} takes no such argument"
            problems.append(Problem(f"{key}.{name}", rule, shown(value), f"It takes: {join_names(names)}."))
    for name, (_, default) in signature.items():
        if default is inspect.Parameter.empty and not (name in node or name in given or node.get("_partial_")):
            problems.append(Problem(f"{key}.{name}", f"{node['_target_']} needs it", remedy=f"Type +{key}.{name}=..."))
    return problems


def _refused(node: Mapping[str, Any], key: str, cause: BaseException, given: Mapping[str, Any]) -> Problem:
    """A constructor's refusal, traced to one argument where it would not be made with that one at its default."""
    plain, target = _plain(node), node["_target_"]
    signature = signature_of(locate(target))
    guilty = []
    for name in plain if isinstance(cause, ValueError) else ():
        if name not in signature or signature[name][1] is inspect.Parameter.empty:
            continue
        rest = {k: v for k, v in plain.items() if k != name}
        try:
            _construct(rest, given)
        except Exception as error:
            if str(error) == str(cause):  # refused without it too: this argument is not to blame
                continue
        guilty.append(name)
    place = f"{key}.{guilty[0]}" if len(guilty) == 1 else key
    received = shown(plain[guilty[0]]) if len(guilty) == 1 else None
    if isinstance(cause, ValueError):
        return Problem(place, f"{target} refuses it: {cause}", received, "Its documentation gives what it accepts.")
    return Problem(place, f"{target} fails: {said(cause)}", received, f"Mend that line, or the arguments in {key}.")


def said(error: BaseException) -> str:
    """An error's kind and text, with the file and line that raised it."""
    return f"{type(error).__name__}: {error}{_where(error)}"


def _where(error: BaseException) -> str:
    """' (file.py, line n)' of the innermost frame."""
    if isinstance(error, SyntaxError) and error.filename:
        return f" ({error.filename}, line {error.lineno})"
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "importlib" not in f.filename]
    return f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""
