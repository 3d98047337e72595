"""The `train` command: conf/ and what was typed are composed, and become one run or, with -m, a sweep.

Nothing heavy is imported before the command line has been checked.
"""

import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from viewfinder.config.hydra_internals import Override, parse_command_line
from viewfinder.config.overrides import add_user_conf, find_conf, parse_overrides, resolve_run_config
from viewfinder.errors import FAILED, Problem, UserError
from viewfinder.training.runtime import importing, settle_threads


def main(command: list[str] | None = None) -> None:
    """Check what was typed, then train: one run, or with -m one for each combination of values.

    Args:
        command: script and words that start this process again, where sys.argv would not; Lightning starts the other
            processes of a run by them.

    Exits with 0 when every job finished, 2 when one could not be run or failed, 128 and a signal's number after that:
    130 after Ctrl-C.
    """
    settle_threads()
    args = parse_command_line()
    sys.path.insert(0, str(Path.cwd()))
    try:
        if not (args.help or args.hydra_help or args.shell_completion):
            parsed = parse_overrides(args.overrides)
            if args.multirun and not (args.cfg or args.info):
                from viewfinder.sweeps.run import run_sweep

                raise SystemExit(run_sweep(parsed))
            if not args.multirun:
                _check_single(parsed)
            # Hydra itself reads overrides only where they stand together.
            sys.argv = [
                *(word for word in sys.argv if word not in args.overrides),
                *args.overrides,
                *add_user_conf(parsed),
            ]
        hydra.main(version_base="1.3", config_path=str(find_conf()), config_name="config")(
            lambda cfg: _run(cfg, command)
        )()
    except UserError as error:
        raise SystemExit(_refuse(error)) from None
    except KeyboardInterrupt:
        raise SystemExit(128 + signal.SIGINT) from None


def _run(cfg: DictConfig, command: list[str] | None) -> None:
    """What Hydra has composed, as one run."""
    with importing():
        from viewfinder.experiment.run import run_experiment

    typed = list(HydraConfig.get().overrides.task)
    plain = resolve_run_config(cfg)
    sys.argv = command or sys.argv
    try:
        run_experiment(plain, overrides=typed)
    except UserError as error:  # Hydra would show a traceback
        raise SystemExit(_refuse(error)) from None


def _check_single(parsed: Sequence[Override]) -> None:
    """Raises UserError if one run is asked for what a sweep has."""
    ours = [each for each in parsed if each.key_or_group.partition(".")[0] == "sweep" or each.is_sweep_override()]
    quotes = "or write a list as 'key=[a,b]', and text with a comma as 'key=\"a,b\"'."
    remedy = {False: "Add -m.", True: f"Add -m for a sweep; {quotes}"}
    problems = [
        Problem(each.input_line or each.key_or_group, "belongs to a sweep", remedy=remedy[each.is_sweep_override()])
        for each in ours
    ]
    if problems:
        raise UserError("the command line", problems)


def _refuse(error: UserError) -> int:
    print(error, file=sys.stderr)
    return FAILED
