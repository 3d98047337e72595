"""Door of the `viewfinder` command, whose imports Ctrl-C may stop."""

from viewfinder.cli.exit import exit_with_message


def start() -> None:
    """Run a subcommand."""
    with exit_with_message():
        from viewfinder.cli.main import app

        app()
