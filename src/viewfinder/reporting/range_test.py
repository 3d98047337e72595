"""Log lines on the result of a learning-rate range test, with the commands that use it."""

import logging
import shlex
from collections.abc import Sequence
from pathlib import Path

from viewfinder.evaluation.lr_curve import Curve, Finding

log = logging.getLogger("viewfinder")
SWEEP_FACTOR = 3.0
"""Factor between the learning rates of the suggested sweep."""
KEY = "optimizer.lr"


def log_finding(curve: Curve, finding: Finding, folder: Path, overrides: Sequence[str]) -> None:
    """Log the result, the path of its chart, and the commands that train with the proposed learning rate."""
    if finding.fell is not None and finding.losses is not None:
        (first, last), (before, lowest) = finding.fell, finding.losses
        log.info(f"loss     fell from {before:.4g} to {lowest:.4g} between lr {first:.2g} and {last:.2g}")
    if curve.diverged is not None:
        log.info(f"diverged at lr {curve.diverged:.2g}, step {len(curve.rates)} of {curve.planned}")
    else:
        log.info(f"did not diverge up to lr {curve.rates[-1]:.2g}")
    if finding.proposal is None:
        log.info(f"proposed nothing: {finding.reason}")
    else:
        log.info(f"proposed {KEY}={finding.proposal:.2g}, where the loss falls fastest")
    log.info(f"curve    {folder / 'lr_range.png'}")
    if finding.proposal is not None:
        log.info("\nTrain with the proposed learning rate, or compare it with a smaller and a larger one:")
        rates = [finding.proposal / SWEEP_FACTOR, finding.proposal, finding.proposal * SWEEP_FACTOR]
        log.info(f"  {format_train_command(overrides, [finding.proposal])}")
        log.info(f"  {format_train_command(overrides, rates)}")


def format_train_command(overrides: Sequence[str], rates: Sequence[float]) -> str:
    """Return the command that trains with one learning rate, or sweeps over several."""
    keys = [override.partition("=")[0] for override in overrides]
    others = [
        override for override, key in zip(overrides, keys, strict=True) if key.lstrip("+") not in (KEY, "run_dir")
    ]
    key = f"+{KEY}" if f"+{KEY}" in keys else KEY  # the optimizer's YAML may have no lr
    sweep = ["-m"] * (len(rates) > 1)
    return shlex.join(["viewfinder", "train", *sweep, *others, f"{key}={','.join(f'{rate:.2g}' for rate in rates)}"])
