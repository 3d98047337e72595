"""Lines about the user's own configuration files, which several commands print."""

from viewfinder.config.own_files import describe_own_files
from viewfinder.errors import printable


def print_own_files() -> None:
    """Print which shipped files the user's own replace, and which are never read."""
    for line in describe_own_files():
        print(printable(line), flush=True)
