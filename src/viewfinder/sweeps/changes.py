"""Changes of values, code and data since the jobs of a sweep were started."""

import functools
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from omegaconf import OmegaConf

from viewfinder.config.flatten import ADDED_KEYS, find_varying_keys, flatten, is_neutral
from viewfinder.config.moved import update_targets
from viewfinder.config.paths import DATA_KEYS
from viewfinder.errors import Problem, UserError
from viewfinder.runs.folder import RunFolder
from viewfinder.runs.provenance import describe_version_changes, hash_module, read_versions
from viewfinder.runs.read import find_changed_splits
from viewfinder.sweeps.executors.local import run_in_subprocess
from viewfinder.sweeps.folder import SweepFolder, SweepJob
from viewfinder.sweeps.plan import PlannedJob


def is_identifying(key: str) -> bool:
    """Return whether a dotted key tells jobs apart; images are identified by their fingerprint, not their folder."""
    return key not in DATA_KEYS and not is_neutral(key)


def flatten_job(job: PlannedJob | SweepJob) -> dict[str, Any]:
    """Flatten a job's configuration, with every class at its present path."""
    return ADDED_KEYS | flatten(update_targets(job.config))


def describe_new_values(planned: Sequence[PlannedJob], existing: Sequence[SweepJob]) -> list[str]:
    """List fixed values that no job of the sweep has, such as 'optimizer.lr was 0.1, is 0.2'.

    Keys that the command line or the sweep varies may have any value.
    """
    new, old = ([flatten_job(job) for job in jobs] for jobs in (planned, existing))
    if not old:
        return []
    free = find_varying_keys(new) | find_varying_keys(old)
    free |= {key for config in (*new, *old) for key in config if not is_identifying(key)}
    fixed = new[0]
    if _serialize_fixed(fixed, free) in {_serialize_fixed(config, free) for config in old}:
        return []
    nearest = min(old, key=lambda config: len(_differing_keys(fixed, config, free)))
    return [
        f"{key} was {_format_value(nearest, key)}, is {_format_value(fixed, key)}"
        for key in _differing_keys(fixed, nearest, free)
    ]


def _serialize_fixed(config: Mapping[str, Any], free: set[str]) -> str:
    # A key that an earlier version did not have is null by default.
    fixed = {key: value for key, value in config.items() if key not in free and value is not None}
    return json.dumps(fixed, sort_keys=True)


def _differing_keys(first: Mapping[str, Any], second: Mapping[str, Any], free: set[str]) -> list[str]:
    return sorted(find_varying_keys([first, second]).difference(free))


def _format_value(config: Mapping[str, Any], key: str) -> str:
    return json.dumps(config[key]) if key in config else "missing"


def find_code_changes(runs: Iterable[RunFolder]) -> dict[str, list[str]]:
    """List the versions and code that changed, by run: 'torch 2.14.1, now 2.15.0', 'the code of viewfinder'."""
    current, hash_now = read_versions(), functools.cache(hash_module)
    changes = {}
    for run in runs:
        facts, changed = run.read_run(), []
        for session in (facts, *facts.get("resumed", [])):
            changed += describe_version_changes(session.get("versions", {}), current)
            hashes = session.get("code", {})
            changed += [f"the code of {name}" for name, old in hashes.items() if old != hash_now(name)]
        changes[run.path.name] = list(dict.fromkeys(changed))
    return changes


class DataRequest(NamedTuple):
    """Data of a job, and how the job decodes them."""

    config: dict[str, Any]
    side: int
    """side of the network's input, in pixels"""
    cropped: dict[str, Any]
    """arguments for cropping while decoding"""
    class_order: Sequence[str]
    """class names of the job's run"""


def find_data_changes(sweep: SweepFolder, started: Sequence[tuple[SweepJob, PlannedJob]]) -> dict[str, list[str]]:
    """Find the jobs whose images have changed, and list the changed splits of each.

    Args:
        sweep: the sweep.
        started: jobs that have read their data, each with its planned job.

    Raises:
        UserError: if the data cannot be read.
    """
    stored = {job.folder: sweep.run_folder(job.folder).read_data() for job, _ in started}
    requests: dict[str, DataRequest] = {}
    request_of_job: dict[str, str] = {}
    for job, planned in started:
        data, facts = dict(planned.config["data"]), stored[job.folder]
        if facts.get("storage") == "stream":  # fingerprints of streamed and stored images differ
            data["storage"] = "stream"
        cropped, class_order = facts.get("cropped", {}), facts["class_names"]
        request = DataRequest({**planned.config, "data": data}, max(facts["picture_size"]), cropped, class_order)
        key = json.dumps([data, *request[1:]], sort_keys=True)
        request_of_job[job.folder] = key
        requests.setdefault(key, request)
    answers, stop_signal = run_in_subprocess(read_data_facts, list(requests.values()))
    if stop_signal is not None:
        raise SystemExit(128 + stop_signal)
    for answer in answers:
        _require_data(answer or {"error": "reading them failed"}, sweep)
    current = {key: answer["facts"] for key, answer in zip(requests, answers, strict=True)}
    changes = {folder: find_changed_splits(stored[folder], current[key]) for folder, key in request_of_job.items()}
    return {folder: splits for folder, splits in changes.items() if splits}


def read_data_facts(request: DataRequest) -> dict[str, Any]:
    """Return {"facts": content of data.json}, or {"error": reason} if the data cannot be read."""
    from viewfinder.data.preprocess import Preprocess
    from viewfinder.experiment.build import open_data

    try:
        data = open_data(OmegaConf.create(request.config), class_order=request.class_order)
        data.load(Preprocess(request.side, **request.cropped))
    except UserError as error:
        return {"error": error.reason}
    return {"facts": data.summarise()}


def _require_data(answer: Mapping[str, Any], sweep: SweepFolder) -> None:
    if "error" in answer:
        rule = f"cannot be read: {answer['error']}"
        remedy = "The data is needed to check that finished jobs are still valid. Restore it, or add sweep.rerun=false."
        remedy += f"\nTo see the results so far: viewfinder compare {sweep.path}"
        raise UserError("the sweep", [Problem("the data", rule, remedy=remedy)])
