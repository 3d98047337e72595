"""The `train` command: Hydra composes conf/ and what was typed; each job becomes one run folder.

Nothing heavy is imported before the command line has been checked.
"""

import logging
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from viewfinder.errors import ViewfinderError
from viewfinder.overrides import check_overrides, find_conf, own_conf, plain_config, plan_sweep
from viewfinder.process import settle_threads
from viewfinder.run_folder import RunFolder, make_dated

log = logging.getLogger("viewfinder")
FAILED = 2


def main(command: list[str] | None = None) -> None:
    """Check what was typed, then let Hydra run one job, or with -m one for each combination of values.

    Args:
        command: script and words that start this process again, where sys.argv would not; Lightning starts the other
            processes of a run by them.

    Exits with 0 when every job finished, 2 when one could not be run or failed, 128 and a signal's number after that:
    130 after Ctrl-C.
    """
    from hydra._internal.utils import get_args_parser

    settle_threads()
    args = get_args_parser().parse_intermixed_args()
    sweep = None
    if not (args.help or args.hydra_help or args.shell_completion):
        try:
            parsed = check_overrides(args.overrides)
            if args.multirun and not (args.cfg or args.info):
                sweep = make_dated(plan_sweep(parsed))
                os.environ["VIEWFINDER_SWEEP_DIR"] = str(sweep)
        except ViewfinderError as error:
            raise SystemExit(_refuse(error)) from None
        # Hydra itself reads overrides only where they stand together.
        sys.argv = [*(word for word in sys.argv if word not in args.overrides), *args.overrides, *own_conf(parsed)]
    sys.path.insert(0, str(Path.cwd()))
    outcome: list[int] = []
    start = hydra.main(version_base="1.3", config_path=str(find_conf()), config_name="config")
    try:
        start(lambda cfg: outcome.append(_job(cfg, command)))()
    except KeyboardInterrupt:
        outcome.append(128 + signal.SIGINT)
    except SystemExit as stopped:
        if not isinstance(stopped.code, int):
            raise
        outcome.append(stopped.code)
    if sweep is not None:
        from viewfinder.sweep import summarise

        with suppress(OSError):
            sweep.rmdir()  # where Hydra itself refused to begin
        outcome.append(summarise(sweep))
    raise SystemExit(max(outcome, default=0))


def _job(cfg: DictConfig, command: list[str] | None) -> int:
    """One job: its exit code. In a sweep a failure is left in the job's folder, and the next job starts."""
    from viewfinder.experiment import run_experiment

    job = HydraConfig.get()
    in_sweep = job.mode == RunMode.MULTIRUN
    folder = Path(job.sweep.dir) / str(job.job.num) if in_sweep else None
    typed = list(job.overrides.task)
    plain = plain_config(cfg)
    if in_sweep:
        print(f"\njob {job.job.num}: {' '.join(typed)}", flush=True)
    sys.argv = command or sys.argv
    try:
        run_experiment(plain, folder, typed)
        return 0
    except ViewfinderError as error:
        if folder is not None:
            RunFolder.record_failure(folder, plain, typed, error.reason)
        return _refuse(error)
    except Exception as error:
        if folder is None:
            raise
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        RunFolder.record_failure(folder, plain, typed, reason)
        log.exception("job %s failed", job.job.num)
        return FAILED


def _refuse(error: ViewfinderError) -> int:
    print(error, file=sys.stderr)
    return FAILED
