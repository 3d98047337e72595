"""`viewfinder status`: the jobs of a sweep, and where they are."""

import time
from pathlib import Path
from typing import Annotated

import typer

INTERVAL = 5.0
"""Seconds between two refreshes."""


def status(
    sweep: Annotated[Path, typer.Argument(metavar="SWEEP", help="Folder of a sweep.")],
    watch: Annotated[bool, typer.Option("--watch", help="Refresh until no job runs or waits for its turn.")] = False,
) -> None:
    """Show the jobs of a sweep: where they are, since when, how many epochs are done, and when they should end."""
    from rich.live import Live

    from viewfinder.reporting.tables import open_console
    from viewfinder.sweeps.status import read_status, render_status

    console, current = open_console(), read_status(sweep)
    if not watch:
        console.print(render_status(current))
        return
    with Live(render_status(current), console=console, auto_refresh=False) as live:
        while current.is_active:
            time.sleep(INTERVAL)
            current = read_status(sweep)
            live.update(render_status(current), refresh=True)
