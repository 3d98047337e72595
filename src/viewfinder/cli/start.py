"""Entry point of the `viewfinder` command, whose imports can be interrupted by Ctrl-C."""

from viewfinder.cli.exit import exit_with_message


def start() -> None:
    """Run a subcommand."""
    with exit_with_message():
        from viewfinder.cli.main import app

        app()
