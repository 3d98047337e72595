"""Command line that repeats a setting."""

import re
import shlex
from collections.abc import Iterable, Sequence

from viewfinder.config.flatten import is_neutral
from viewfinder.errors import UserError, printable
from viewfinder.runs.folder import RunFolder

PROGRAMS = ("python train.py", "viewfinder train")
OMITTED = re.compile(r"[+~]*(?:seed|run_dir|allow|sweep|(?:sweep|hydra)[./@].*)(?:=.*)?", re.DOTALL)
"""Overrides that choose folders, executors and trusted code, and the seed, which is added again."""


def format_repeat_command(runs: Sequence[RunFolder], seeds: Iterable[int], folds: Iterable[int] = ()) -> str | None:
    """Return the command that trains a setting again with each seed and fold, or None if no run records its overrides.

    Args:
        runs: runs of one setting.
        seeds: seeds of these runs.
        folds: folds of these runs, if they have folds.
    """
    for run in runs:
        try:
            facts = run.read_run()
        except UserError:
            continue
        overrides, command = facts.get("overrides", []), facts.get("command", "")
        if not overrides and command not in PROGRAMS:
            continue  # the configuration was made in Python
        resumed = (override for resume in facts.get("resumed", []) for override in resume.get("overrides", []))
        overrides = _update_overrides(overrides, resumed)
        if any(override.startswith("-") for override in overrides):
            continue  # an option of Hydra, which may run code from a file
        program = next((name for name in PROGRAMS if command.startswith(f"{name} ")), PROGRAMS[0])
        unique, unique_folds = sorted(set(seeds)), sorted(set(folds))
        repeated = [override for override in overrides if not OMITTED.fullmatch(override)]
        if unique_folds:
            fold_key = next((key for key in map(_get_key, repeated) if key.lstrip("+") == "data.fold"), "data.fold")
            repeated = [override for override in repeated if _get_key(override) != fold_key]
            repeated.append(f"{fold_key}={','.join(map(str, unique_folds))}")
        if len(unique) > 1 or any(override.startswith("seed=") for override in overrides):
            repeated.append(f"seed={','.join(map(str, unique))}")
        is_sweep = len(unique) > 1 or len(unique_folds) > 1
        # A run folder may come from a stranger, whose control characters must not reach the terminal.
        return printable(shlex.join([*program.split(), *["-m"] * is_sweep, *repeated]))
    return None


def _get_key(override: str) -> str:
    return override.partition("=")[0]


def _update_overrides(overrides: Iterable[str], resumed: Iterable[str]) -> list[str]:
    """Update overrides with the values that were given when the run was resumed."""
    by_key = {override.partition("=")[0].lstrip("+"): override for override in overrides}
    for override in resumed:
        key, _, value = override.partition("=")
        if not is_neutral(key):
            by_key[key] = f"{by_key.get(key, override).partition('=')[0]}={value}"
    return [*by_key.values()]
