"""`viewfinder cancel`: cancel the jobs of a sweep."""

from pathlib import Path
from typing import Annotated

import typer


def cancel(sweep: Annotated[Path, typer.Argument(metavar="SWEEP", help="Folder of a sweep or search.")]) -> None:
    """Cancel the jobs of a sweep that run or wait, on this machine or with a scheduler; finished jobs stay.

    Each run is saved at its next step, and the command of the sweep continues it.
    """
    from viewfinder.errors import printable
    from viewfinder.sweeps.cancel import cancel_sweep

    print(printable(cancel_sweep(sweep)))
