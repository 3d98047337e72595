"""What a configuration may name: what its place needs, from packages that are known or that a person has named.

A configuration is data until something in it is imported, since an import runs code: where a class comes from is
settled by its name alone, and what it is once it has been imported.
"""

import importlib.util
import inspect
import sys
import sysconfig
import typing
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from viewfinder.config.components import KINDS, KNOWN, OURS, TRUSTED
from viewfinder.config.instantiate import STAGE, TARGET, locate, targets
from viewfinder.errors import Problem, UserError, join_names


@dataclass(frozen=True)
class Allowed:
    """Whose classes and functions a configuration may name, beside those of TRUSTED packages.

    Args:
        names: dotted paths, such as timm or timm.models, for all that is below them.
        own_files: what is not installed is taken unnamed, and what is of KNOWN packages: a configuration of the
            person's own may use their own files.
    """

    names: tuple[str, ...] = ()
    own_files: bool = False

    def find(self, target: Any, place: str) -> Callable[..., Any]:
        """The class or function at a dotted path.

        Args:
            place: a group of the configuration, or "" for a node within another's arguments.

        Raises:
            UserError: if it may not be imported, cannot be, or is not what the place needs.
        """
        top = str(target).partition(".")[0]
        if not isinstance(target, str) or top == target:
            return locate(target)
        if top in sys.stdlib_module_names:
            raise _refused(target, *_of_python(top))
        if not (self._trusts(target, top) or (self.own_files and _is_own_file(top))):
            raise self._untrusted(target, top)
        if not self.own_files and _spec(top) is None:
            # Last, and for what was named alone: a stranger's folder may shadow pandas.
            sys.path.append(str(Path.cwd()))
        found = locate(target)
        if not callable(found):
            raise _refused(target, "is neither a class nor a function", TARGET)
        module = str(getattr(found, "__module__", None) or top)
        home = module.partition(".")[0]
        if home in sys.stdlib_module_names:
            raise _refused(target, *_of_python(home))
        if not (self.own_files or self._trusts(target, home)):  # a trusted module has imported it from elsewhere
            raise self._untrusted(target, home)
        self._check_kind(target, found, home, place)
        if home == OURS and not _is_below(module, homes := KINDS[place].homes):
            rule = f"is {OURS}'s own, and not of {join_names(homes)}"
            raise _refused(target, rule, "Name what a file in conf/ names, or your own.")
        return found

    def _trusts(self, target: str, top: str) -> bool:
        return top in (KNOWN if self.own_files else TRUSTED) or self._names(target)

    def _untrusted(self, target: str, top: str) -> UserError:
        whose, known = ("is no file of your own, and not of", KNOWN) if self.own_files else ("is not of", TRUSTED)
        remedy = f"If you trust it, add {self._with(top)} to what you type; importing it runs its code."
        return _refused(target, f"{whose} a package that is trusted unasked ({join_names(known)})", remedy)

    def _check_kind(self, target: str, found: Callable[..., Any], home: str, place: str) -> None:
        kind = KINDS[place]
        unnamed = not self.own_files and home != OURS and not self._names(target)
        if unnamed and not inspect.isclass(found):
            rule = f"may fetch files from a network, and is not {OURS}'s own"
            raise _refused(target, rule, f"If you trust it, add {self._with(home)} to what you type.")
        # Its author knows what such a function gives, and has not met it in somebody's configuration.
        is_own = home not in KNOWN and (target in self.names or (self.own_files and _is_own_file(home)))
        if inspect.isclass(found):
            if not (kind.fits(found) or (is_own and not place)):
                raise _refused(target, f"is not {kind.said}", "Name a class that is.")
            return
        returned = _returned(found)
        if returned is None and is_own:
            return
        if not (inspect.isclass(returned) and (returned is kind.by_function or kind.fits(returned))):
            rule = f"is a function that does not say it returns {kind.said}"
            raise _refused(target, rule, "Name a class; or a function whose annotation says so: def make(...) -> ...")

    def _with(self, name: str) -> str:
        return to_allow([*self.names, name])

    def _names(self, target: str) -> bool:
        return _is_below(target, self.names)


def to_allow(names: Sequence[str]) -> str:
    """What to type to allow some names."""
    return f"allow=[{','.join(names)}]" if len(names) > 1 else f"allow={names[0]}"


def foreign(cfg: DictConfig) -> list[str]:
    """Packages and modules that a configuration names and nobody vouches for, such as one's own."""
    return sorted({target.partition(".")[0] for target in targets(cfg)}.difference(TRUSTED))


def names_in(value: Any) -> tuple[str, ...]:
    """What the key `allow` holds: a list of names, or one, or several between commas."""
    words = value.strip("[]").split(",") if isinstance(value, str) else list(value or ())
    return tuple(str(word).strip() for word in words if str(word).strip())


def check_names(names: tuple[str, ...]) -> list[Problem]:
    """What is wrong with the names that were allowed."""
    library = [name for name in names if name.partition(".")[0] in sys.stdlib_module_names]
    return [Problem("allow", _of_python(name)[0], name, "Leave it out.") for name in library]


def _is_below(target: str, names: tuple[str, ...]) -> bool:
    """Whether a dotted path is one of some names, or begins with one."""
    return any(target == name or target.startswith(f"{name}.") for name in names)


def _refused(target: str, rule: str, remedy: str) -> UserError:
    return UserError(STAGE, [Problem("_target_", rule, target, remedy)])


def _of_python(top: str) -> tuple[str, str]:
    return f"is of Python's own library ({top}), of which nothing is ever taken", TARGET


def _spec(top: str) -> ModuleSpec | None:
    """Where a module is; finding that imports nothing."""
    try:
        return importlib.util.find_spec(top)
    except (ImportError, ValueError):  # such as of __main__
        return None


def _is_own_file(top: str) -> bool:
    """Whether a module is not installed; True for one that is not there, of which `locate` says so."""
    spec = _spec(top)
    if spec is None:
        return True
    places = [Path(place) for place in spec.submodule_search_locations or [spec.origin or "built-in"]]
    library = Path(sysconfig.get_path("stdlib"))
    installed = {"site-packages", "dist-packages"}
    return all(p.is_absolute() and installed.isdisjoint(p.parts) and library not in p.parents for p in places)


def _returned(function: Callable[..., Any]) -> Any:
    """What a function's annotation says that it returns; None if it says nothing."""
    try:
        return typing.get_type_hints(function).get("return")
    except Exception:  # what cannot be resolved says nothing
        return None
