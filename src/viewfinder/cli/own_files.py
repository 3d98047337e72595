"""The user's own configuration files and classes, which several commands use."""

import sys
from pathlib import Path

from viewfinder.config.own_files import describe_own_files
from viewfinder.errors import printable


def print_own_files() -> None:
    """Print which shipped files the user's own replace, and which are never read."""
    for line in describe_own_files():
        print(printable(line), flush=True)


def use_own_files() -> None:
    """Print the lines about the user's own files, and let their classes be imported from the working folder."""
    print_own_files()
    sys.path.insert(0, str(Path.cwd()))
