"""The `viewfinder` command. Heavy imports wait until a subcommand runs, so that --help is quick."""

import sys

import typer

from viewfinder.cli.audit import audit
from viewfinder.cli.cancel import cancel
from viewfinder.cli.compare import compare
from viewfinder.cli.evaluate import evaluate
from viewfinder.cli.exit import exit_with_message
from viewfinder.cli.explain import explain
from viewfinder.cli.export import export
from viewfinder.cli.frontier import frontier
from viewfinder.cli.inspect import inspect
from viewfinder.cli.lr_range import lr_range
from viewfinder.cli.predict import predict
from viewfinder.cli.report import report
from viewfinder.cli.resume import resume
from viewfinder.cli.robustness import robustness
from viewfinder.cli.search import search
from viewfinder.cli.status import status
from viewfinder.cli.sync import sync
from viewfinder.cli.verify import verify
from viewfinder.runs.launcher import ignore_other_launchers
from viewfinder.runs.streams import prepare_streams
from viewfinder.training.runtime import configure_threads

cli = typer.Typer(
    help="Image-classification experiments from small YAML files, each ending in a run folder that explains itself.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
cli.command()(search)
cli.command()(status)
cli.command()(cancel)
cli.command()(resume)
cli.command()(evaluate)
cli.command()(predict)
cli.command()(export)
cli.command()(compare)
cli.command()(report)
cli.command()(sync)
cli.command()(lr_range)
cli.command()(audit)
cli.command()(inspect)
cli.add_typer(explain, name="explain")
cli.command()(robustness)
cli.command()(frontier)
cli.command()(verify)


@cli.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True}, add_help_option=False)
def train() -> None:
    """Train a network: `viewfinder train model=simple_cnn` is `python train.py model=simple_cnn`."""
    from viewfinder.cli.train import main

    command = list(sys.argv)
    sys.argv = ["viewfinder train", *command[2:]]
    main(command)


def app() -> None:
    """Run a subcommand; show an error that the user can fix without a traceback and exit with 2.

    The working folder is not on sys.path: it may be someone else's run folder, with a pandas.py in it. `train`,
    `lr-range`, `search`, `verify`, `audit` of data and `inspect` of a model add it; `allow=NAME` adds it last.
    """
    prepare_streams()
    configure_threads()
    ignore_other_launchers(sys.argv[1:2] in (["train"], ["resume"]))
    with exit_with_message():
        cli()
