"""Creation of run folders."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from viewfinder.config.instantiate import list_targets
from viewfinder.config.yaml_text import format_settings
from viewfinder.runs.atomic import make_write_error, replace_text
from viewfinder.runs.folder import RunFolder
from viewfinder.runs.launcher import is_helper
from viewfinder.runs.naming import make_configured_folder, make_folder
from viewfinder.runs.own_code import remember_own_code
from viewfinder.runs.provenance import (
    describe_process,
    hash_code,
    now,
    read_command,
    read_git_state,
    read_versions,
)  # fmt: skip
from viewfinder.runs.rendezvous import share_text


def create_run(settings: Mapping[str, Any], path: Path | None = None, overrides: Sequence[str] = ()) -> RunFolder:
    """Create and lock a run folder with config.yaml and run.json; a process other than rank 0 returns rank 0's folder.

    Args:
        settings: resolved configuration as plain values.
        path: the folder; by default `run_dir` of the settings, or a dated folder in `output_dir`/`name`.
        overrides: overrides from which the settings were composed, for run.json.

    Raises:
        UserError: if the folder exists, or cannot be created.
    """
    if is_helper():
        return RunFolder(Path(share_text("run", None)))
    code = hash_code(list_targets(settings))
    run = RunFolder(make_folder(path, "run_dir") if path else make_configured_folder(settings))
    try:
        run.lock.acquire()
        run.write_settings(settings)
        run.update_run(
            status="running",
            command=read_command(),
            working_folder=str(Path.cwd()),
            seed=int(settings["seed"]),
            started=now(),
            git=read_git_state(),
            versions=read_versions(),
            code=code,
            overrides=list(overrides),
            **describe_process(),
        )
        remember_own_code(settings, code)
        share_text("run", str(run.path.absolute()))
    except OSError as error:
        run.lock.release()
        run.clear()
        raise make_write_error(run.path, error, "run the same command again.") from error
    return run


def write_failure(path: Path, settings: Mapping[str, Any], overrides: Sequence[str], reason: str) -> None:
    """Record why a job failed in its folder, unless its run has already recorded how it ended.

    Args:
        path: folder of the job, which is created if it is missing.
        settings: resolved configuration as plain values.
        overrides: overrides from which the settings were composed.
        reason: the failure, on one line.
    """
    run = RunFolder(path)
    if not run.run.exists():
        path.mkdir(parents=True, exist_ok=True)
        replace_text(run.config, format_settings(settings))
        run.update_run(status="failed", error=reason, overrides=list(overrides), ended=now())
    elif run.status in ("killed", "interrupted"):
        run.update_run(status="failed", error=reason, ended=now())
