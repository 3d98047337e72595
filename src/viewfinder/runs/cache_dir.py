"""Location of the user's cache folder."""

import os
from pathlib import Path


def cache_folder() -> Path:
    """Return $XDG_CACHE_HOME/viewfinder, or ~/.cache/viewfinder; it may not exist yet, and can be deleted."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "viewfinder"
