"""The command line that repeats a setting."""

import re
import shlex
from collections.abc import Iterable, Sequence

from viewfinder.config.flatten import NO_MATTER
from viewfinder.errors import UserError, printable
from viewfinder.runs.folder import RunFolder

PROGRAMS = ("python train.py", "viewfinder train")
HOW = re.compile(r"[+~]*(?:seed|run_dir|allow|sweep|(?:sweep|hydra)[./@].*)(?:=.*)?", re.DOTALL)
"""Overrides that say how jobs are made and where they go, whose code may run, and the seed, which is said anew."""


def repeat_command(runs: Sequence[RunFolder], seeds: Iterable[int]) -> str | None:
    """What to type to train a setting again with each of its seeds; None where its runs do not say what was typed.

    Args:
        runs: of the one setting.
        seeds: theirs.
    """
    for run in runs:
        try:
            facts = run.read_run()
        except UserError:
            continue
        typed, command = facts.get("overrides", []), facts.get("command", "")
        if not typed and command not in PROGRAMS:
            continue  # a configuration that nobody typed
        typed = _changed(typed, (word for each in facts.get("resumed", []) for word in each.get("overrides", [])))
        if any(word.startswith("-") for word in typed):
            continue  # no override, but an option of Hydra's, one of which runs a file's code
        program = next((name for name in PROGRAMS if command.startswith(f"{name} ")), PROGRAMS[0])
        wanted = sorted(set(seeds))
        words = [word for word in typed if not HOW.fullmatch(word)]
        if len(wanted) > 1 or any(word.startswith("seed=") for word in typed):
            words.append(f"seed={','.join(map(str, wanted))}")
        # What others wrote must not steer the terminal on which it is shown.
        return printable(shlex.join([*program.split(), *["-m"] * (len(wanted) > 1), *words]))
    return None


def _changed(typed: Iterable[str], later: Iterable[str]) -> list[str]:
    """Overrides with what was typed for the same keys when the run went on."""
    words = {word.partition("=")[0].lstrip("+"): word for word in typed}
    for word in later:
        key, _, value = word.partition("=")
        if key not in NO_MATTER:
            words[key] = f"{words.get(key, word).partition('=')[0]}={value}"
    return [*words.values()]
