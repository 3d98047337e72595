"""Parameters, multiply-adds and training time of settings, as their runs recorded them."""

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from viewfinder.errors import UserError
from viewfinder.runs.folder import RunFolder


def read_costs(runs: Sequence[str], settings: Sequence[str]) -> pd.DataFrame:
    """Read the costs of runs from run.json, and average them over the runs of each setting.

    Args:
        runs: paths of run folders.
        settings: setting of each run.

    Returns:
        Columns parameters, multiply_adds (of one image) and epoch_seconds, by setting; NaN where a run lacks them.
    """
    rows = []
    for path, setting in zip(runs, settings, strict=True):
        try:
            facts = RunFolder(Path(path)).read_run()
        except UserError:
            facts = {}
        network, seconds = facts.get("network", {}), facts.get("epoch_seconds", [])
        rows.append({
            "setting": setting,
            "parameters": network.get("parameters"),
            "multiply_adds": network.get("multiply_adds"),
            "epoch_seconds": statistics.median(seconds) if seconds else None,
        })  # fmt: skip
    table: Any = pd.DataFrame(rows).set_index("setting").astype(float)
    return table.groupby("setting", sort=False).mean()
