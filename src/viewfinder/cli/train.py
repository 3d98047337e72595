"""The `train` command: one run or, with -m, a sweep.

Heavy imports wait until the command line is valid.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from viewfinder.cli.exit import exit_with_message
from viewfinder.cli.own_files import print_own_files
from viewfinder.config.experiment_sweep import require_no_sweep
from viewfinder.config.hydra_internals import Override, parse_command_line
from viewfinder.config.overrides import STAGE, parse_overrides, resolve_run_config
from viewfinder.config.own_files import find_conf, use_config_dir
from viewfinder.config.paths import quote_texts
from viewfinder.errors import Problem, UserError
from viewfinder.runs.launcher import ignore_other_launchers
from viewfinder.runs.logging import is_helper
from viewfinder.runs.streams import prepare_streams
from viewfinder.training.runtime import configure_threads, fast_imports


def main(command: list[str] | None = None) -> None:
    """Validate the command line, then train one run, or with -m one for each combination of values.

    Exits with 0 if every job finished, with 2 if one is invalid or failed, and with 128 plus the number of a signal
    after that signal: 130 after Ctrl-C.

    Args:
        command: script and arguments with which Lightning starts the other processes of a run; None for sys.argv.
    """
    prepare_streams()
    configure_threads()
    ignore_other_launchers()
    args = parse_command_line()
    sys.path.insert(0, str(Path.cwd()))
    with exit_with_message():
        _run_or_sweep(args, command)


def _run_or_sweep(args: argparse.Namespace, command: list[str] | None) -> None:
    _refuse_other_configuration(args)
    if args.config_dir is not None:
        use_config_dir(Path(args.config_dir))
    if not (args.help or args.hydra_help or args.shell_completion):
        overrides = quote_texts(args.overrides)
        parsed = parse_overrides(overrides)
        if not (args.cfg or args.info or is_helper()):
            print_own_files()
        if args.multirun and not (args.cfg or args.info):
            from viewfinder.sweeps.run import run_sweep

            raise SystemExit(run_sweep(parsed))
        if not args.multirun:
            _require_single_run(parsed)
        # Hydra itself finds overrides only if they are adjacent.
        options = [word for word in sys.argv if word not in args.overrides]
        sys.argv = [*options, *overrides]
    elif args.hydra_help:
        sys.argv = [word for word in sys.argv if word not in args.overrides]  # for which Hydra has no help
    try:
        hydra.main(version_base="1.3", config_path=str(find_conf()), config_name="config")(
            lambda cfg: _run(cfg, command)
        )()
    except (ValueError, HydraException) as error:  # options that exclude each other; errors of a run never get here
        reason, *_ = str(error).splitlines() or [type(error).__name__]
        raise UserError(STAGE, [Problem("the options", reason, remedy="See --hydra-help.")]) from error


def _run(cfg: DictConfig, command: list[str] | None) -> None:
    """Train one run with the configuration that Hydra composed."""
    typed: Any = OmegaConf.to_container(HydraConfig.get().overrides.task, resolve=False)
    with exit_with_message():  # Hydra would show a traceback
        require_no_sweep(HydraConfig.get(), typed)
    with fast_imports():
        from viewfinder.experiment.run import run_experiment

    with exit_with_message():
        run_cfg = resolve_run_config(cfg)
        sys.argv = command or sys.argv
        run_experiment(run_cfg, overrides=typed)


def _refuse_other_configuration(args: argparse.Namespace) -> None:
    """Raise UserError for options of Hydra that would replace Viewfinder's own configuration."""
    remedies = {
        "config_path": "To add a folder of your own files: --config-dir=FOLDER.",
        "config_name": "Put the file into conf/experiment/, and add experiment=NAME.",
    }
    problems = [
        Problem(f"--{name.replace('_', '-')}", "would replace Viewfinder's configuration", value, remedy)
        for name, remedy in remedies.items()
        if (value := getattr(args, name)) is not None
    ]
    if problems:
        raise UserError(STAGE, problems)


def _require_single_run(parsed: Sequence[Override]) -> None:
    """Check that no override requires a sweep.

    Raises:
        UserError: with a problem for each override that has several values, or a key of the group `sweep`.
    """
    quotes = "or write a list as 'key=[a,b]', and text with a comma as 'key=\"a,b\"'."
    problems = []
    for override in parsed:
        if override.is_sweep_override() or override.key_or_group.partition(".")[0] == "sweep":
            remedy = f"Add -m for a sweep; {quotes}" if override.is_sweep_override() else "Add -m."
            problems.append(Problem(override.input_line or override.key_or_group, "requires a sweep", remedy=remedy))
    if problems:
        raise UserError(STAGE, problems)
