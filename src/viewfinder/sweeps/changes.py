"""What has changed since a sweep's jobs were begun: fixed values, the code, the data."""

import functools
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from omegaconf import OmegaConf

from viewfinder.config.flatten import NEUTRAL_KEYS, find_varying_keys, flatten
from viewfinder.errors import Problem, UserError
from viewfinder.runs.folder import RunFolder
from viewfinder.runs.provenance import module_hash, versions
from viewfinder.runs.schemas import changed_data
from viewfinder.sweeps.executors.local import ask
from viewfinder.sweeps.folder import SweepFolder, SweepJob
from viewfinder.sweeps.plan import Planned

KNOWN_OTHERWISE = (*NEUTRAL_KEYS, "data.root")
"""Keys that a job is not known by; its pictures are known by their fingerprint."""


def pair(planned: Sequence[Planned], known: Sequence[SweepJob]) -> list[SweepJob | None]:
    """For each planned job the known one that is the same: in all that can change a score, and in what is swept."""
    swept = find_varying_keys([flatten(job.config) for job in planned])
    before = {_identity(job.config, swept): job for job in reversed(known)}
    here = {_identity(job.config, {*swept, "data.root"}): job for job in reversed(known)}  # of several, first
    return [
        here.get(_identity(job.config, {*swept, "data.root"}), before.get(_identity(job.config, swept)))
        for job in planned
    ]


def _identity(config: Mapping[str, Any], swept: set[str]) -> str:
    kept = {key: value for key, value in flatten(config).items() if key not in KNOWN_OTHERWISE or key in swept}
    return json.dumps(kept, sort_keys=True)


def other_values(planned: Sequence[Planned], known: Sequence[SweepJob]) -> list[str]:
    """Values that no job of the sweep has had, of keys that are not swept: 'optimizer.lr was 0.1, is 0.2'.

    A line may have other values of what it sweeps, or the sweep has swept so far; all else is the sweep's own.
    """
    now, before = ([flatten(job.config) for job in jobs] for jobs in (planned, known))
    if not before:
        return []
    free = find_varying_keys(now).union(find_varying_keys(before), KNOWN_OTHERWISE)
    fixed, fixed_before = now[0], {_fixed(config, free) for config in before}
    if _fixed(fixed, free) in fixed_before:
        return []
    nearest = min(before, key=lambda config: len(_different(fixed, config, free)))
    return [f"{key} was {_said(nearest, key)}, is {_said(fixed, key)}" for key in _different(fixed, nearest, free)]


def _fixed(config: Mapping[str, Any], free: set[str]) -> str:
    return json.dumps({key: value for key, value in config.items() if key not in free}, sort_keys=True)


def _different(one: Mapping[str, Any], other: Mapping[str, Any], free: set[str]) -> list[str]:
    return sorted(find_varying_keys([one, other]).difference(free))


def _said(config: Mapping[str, Any], key: str) -> str:
    return json.dumps(config[key]) if key in config else "not there"


def other_code(runs: Iterable[RunFolder]) -> dict[str, list[str]]:
    """What runs were made by that is not as it is now: 'torch 2.14.1, now 2.15.0', 'the code of viewfinder'."""
    here, hash_now = versions(), functools.cache(module_hash)
    found = {}
    for run in runs:
        facts, changed = run.read_run(), []
        for made_by in (facts, *facts.get("resumed", [])):
            before, hashes = made_by.get("versions", {}), made_by.get("code", {})
            changed += [f"{name} {was}, now {here.get(name)}" for name, was in before.items() if was != here.get(name)]
            changed += [f"the code of {name}" for name, was in hashes.items() if was != hash_now(name)]
        found[run.path.name] = list(dict.fromkeys(changed))
    return found


class Look(NamedTuple):
    """At the data as they are now."""

    config: dict[str, Any]
    side: int
    """of the pictures as the network has had them"""
    cropped: dict[str, Any]
    """how a part of them was cut off in decoding them"""


def other_data(sweep: SweepFolder, begun: Sequence[tuple[SweepJob, Planned]]) -> dict[str, list[str]]:
    """Folders of jobs whose pictures are no longer those that they had, with the splits in which they differ.

    Args:
        begun: jobs that have read their data, each with what the command line makes of it now.

    Raises:
        UserError: if the data cannot be had.
    """
    known = {job.folder: sweep.run(job.folder).read_data() for job, _ in begun}
    looks: dict[str, Look] = {}
    of: dict[str, str] = {}
    for job, planned in begun:
        data, had = dict(planned.config["data"]), known[job.folder]
        if had.get("storage") == "stream":  # whose pictures are known by other facts
            data["storage"] = "stream"
        look = Look({**planned.config, "data": data}, max(had["picture_size"]), had.get("cropped", {}))
        of[job.folder] = json.dumps([data, look.side, look.cropped], sort_keys=True)
        looks.setdefault(of[job.folder], look)
    answers, stopped = ask(look_at, list(looks.values()))
    if stopped is not None:
        raise SystemExit(128 + stopped)
    found = dict(zip(looks, answers, strict=True))
    for answer in answers:
        _check_found(answer or {"error": "cannot be read"}, sweep)
    changed = {name: changed_data(known[name], found[key]["facts"]) for name, key in of.items()}
    return {name: splits for name, splits in changed.items() if splits}


def look_at(look: Look) -> dict[str, Any]:
    """{"facts": what data.json would say}, or {"error": why the data cannot be had}."""
    from viewfinder.data.preprocess import Preprocess
    from viewfinder.experiment.build import open_data

    try:
        data = open_data(OmegaConf.create(look.config))
        data.load(Preprocess(look.side, **look.cropped))
    except UserError as error:
        return {"error": error.reason}
    return {"facts": data.summarise()}


def _check_found(found: Mapping[str, Any], sweep: SweepFolder) -> None:
    if "error" in found:
        rule = f"which tell whether jobs are done, cannot be had: {found['error']}"
        remedy = "Bring them back, or add sweep.rerun=false to do without."
        remedy += f"\nTo see what is done: viewfinder compare {sweep.path}"
        raise UserError("the sweep", [Problem("the data", rule, remedy=remedy)])
