"""Restrict which classes a configuration may import.

An import executes code: the package of a target is checked by its name before the import, its type afterwards.
"""

import importlib.util
import inspect
import sys
import sysconfig
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

from viewfinder.config.components import COMPONENTS, KNOWN_PACKAGES, PACKAGE, TRUSTED_PACKAGES
from viewfinder.config.instantiate import STAGE, TARGET_REMEDY, import_target, list_targets
from viewfinder.errors import Problem, UserError, join_names


@dataclass(frozen=True)
class TrustPolicy:
    """Packages whose classes and functions a configuration may name, in addition to TRUSTED_PACKAGES.

    Args:
        names: dotted paths, such as timm or timm.models, each with everything below it.
        own_files: also accept modules that are not installed, and KNOWN_PACKAGES, as in a user's own configuration.
        changed: files of the user's own targets that have changed since this user trained with them.
    """

    names: tuple[str, ...] = ()
    own_files: bool = False
    changed: Mapping[str, str] = field(default_factory=dict)

    def import_trusted(self, target: Any, group: str) -> Callable[..., Any]:
        """Import the class or function at a dotted path.

        Args:
            target: dotted path.
            group: a group of the configuration, or "" for a node within another's arguments.

        Raises:
            UserError: if the target is untrusted, cannot be imported, or does not suit the group.
        """
        top = str(target).partition(".")[0]
        if not isinstance(target, str) or top == target:
            return import_target(target)
        if top in sys.stdlib_module_names:
            raise _reject(target, _describe_library(top), TARGET_REMEDY)
        if not (self._trusts(target, top) or (self.own_files and is_own_file(top))):
            raise self._reject_untrusted(target, top)
        if not self.own_files and _find_spec(top) is None:
            sys.path.append(str(Path.cwd()))  # last, so that no file in an unknown folder shadows pandas
        imported = import_target(target)
        if not callable(imported):
            raise _reject(target, "is neither a class nor a function", TARGET_REMEDY)
        module = str(getattr(imported, "__module__", None) or top)
        package = module.partition(".")[0]
        if package in sys.stdlib_module_names:
            raise _reject(target, _describe_library(package), TARGET_REMEDY)
        if not (self.own_files or self._trusts(target, package)):  # a trusted module imported it from elsewhere
            raise self._reject_untrusted(target, package)
        self._validate_type(target, imported, package, group)
        if package == PACKAGE and not _is_below(module, modules := COMPONENTS[group].modules):
            rule = f"is in {PACKAGE} but outside {join_names(modules)}"
            raise _reject(target, rule, "Name a class that a file in conf/ names, or your own.")
        return imported

    def _trusts(self, target: str, package: str) -> bool:
        return package in (KNOWN_PACKAGES if self.own_files else TRUSTED_PACKAGES) or self._names(target)

    def _reject_untrusted(self, target: str, package: str) -> UserError:
        if self.own_files:
            rule = f"is neither a file of yours nor in the trusted packages ({join_names(KNOWN_PACKAGES)})"
        else:
            rule = f"is outside the trusted packages ({join_names(TRUSTED_PACKAGES)})"
            if target in self.changed:
                rule = f"is in {self.changed[target]}, which has changed since you trained with it"
        return _reject(target, rule, f"To allow it, {self._suggest_allowing(package)}; importing it executes its code.")

    def _validate_type(self, target: str, imported: Callable[..., Any], package: str, group: str) -> None:
        spec = COMPONENTS[group]
        is_class = inspect.isclass(imported)
        if not (is_class or self.own_files or package == PACKAGE or self._names(target)):
            rule = f"is a function outside {PACKAGE} and may download files"
            raise _reject(target, rule, f"To allow it, {self._suggest_allowing(package)}.")
        # A user's own function needs no annotation.
        is_own = package not in KNOWN_PACKAGES and (target in self.names or (self.own_files and is_own_file(package)))
        if is_class:
            if not (spec.accepts_class(imported) or (is_own and not group)):
                raise _reject(target, f"is not {spec.description}", "Name a class that is.")
            return
        returned = _read_return_type(imported)
        if returned is None and is_own:
            return
        if not spec.accepts_function(returned):
            rule = f"is a function that is not annotated to return {spec.description}"
            raise _reject(target, rule, "Name a class, or annotate the function: def make(...) -> ...")

    def _suggest_allowing(self, name: str) -> str:
        return f"add {allow_override([*self.names, name])}"

    def _names(self, target: str) -> bool:
        return _is_below(target, self.names)


def allow_override(names: Sequence[str]) -> str:
    """Return the override that allows packages or modules."""
    return f"allow=[{','.join(names)}]" if len(names) > 1 else f"allow={names[0]}"


def untrusted_packages(settings: Mapping[str, Any]) -> list[str]:
    """Return the packages outside TRUSTED_PACKAGES that a configuration names."""
    return sorted({target.partition(".")[0] for target in list_targets(settings)}.difference(TRUSTED_PACKAGES))


def parse_allow(value: Any) -> tuple[str, ...]:
    """Split the value of the key `allow`: a list of names, one name, or several separated by commas."""
    names = value.strip("[]").split(",") if isinstance(value, str) else list(value or ())
    return tuple(str(name).strip() for name in names if str(name).strip())


def validate_allow(names: tuple[str, ...]) -> list[Problem]:
    """Validate allowed names and return the problems; the standard library cannot be allowed."""
    library = [name for name in names if name.partition(".")[0] in sys.stdlib_module_names]
    return [Problem("allow", _describe_library(name.partition(".")[0]), name, "Remove it.") for name in library]


def _is_below(target: str, names: tuple[str, ...]) -> bool:
    """Return whether a dotted path is, or is below, any of the names."""
    return any(target == name or target.startswith(f"{name}.") for name in names)


def _reject(target: str, rule: str, remedy: str) -> UserError:
    return UserError(STAGE, [Problem("_target_", rule, target, remedy)])


def _describe_library(package: str) -> str:
    return f"is in Python's standard library ({package}), which a configuration must not use"


def _find_spec(module: str) -> ModuleSpec | None:
    """Locate a top-level module without importing anything."""
    try:
        return importlib.util.find_spec(module)
    except (ImportError, ValueError):  # for example of __main__
        return None


def is_own_file(module: str) -> bool:
    """Return whether a top-level module is the user's own file, neither installed nor in the standard library.

    A missing module counts as the user's own, so that its import reports that it is missing.
    """
    spec = _find_spec(module)
    if spec is None:
        return True
    places = [Path(place) for place in spec.submodule_search_locations or [spec.origin or "built-in"]]
    library = Path(sysconfig.get_path("stdlib"))
    installed = {"site-packages", "dist-packages"}
    return all(p.is_absolute() and installed.isdisjoint(p.parts) and library not in p.parents for p in places)


def _read_return_type(function: Callable[..., Any]) -> Any:
    """Return the return annotation of a function; None if it is missing or cannot be resolved."""
    try:
        return typing.get_type_hints(function).get("return")
    except Exception:
        return None
