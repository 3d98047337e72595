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


def log_finding(curve: Curve, finding: Finding, page: Path, overrides: Sequence[str]) -> None:
    """Log the result, the path of its page, and the commands that train with the proposed learning rate."""
    for line in describe_finding(curve, finding):
        log.info(line)
    log.info(f"page     {page}")
    if commands := list_train_commands(finding, overrides):
        log.info("\nTrain with the proposed learning rate, or compare it with a smaller and a larger one:")
        for command in commands:
            log.info(f"  {command}")


def describe_finding(curve: Curve, finding: Finding) -> list[str]:
    """Describe the fall of the loss, its divergence and the proposal, in a line each."""
    lines = []
    if finding.fell is not None and finding.losses is not None:
        (first, last), (before, lowest) = finding.fell, finding.losses
        lines.append(f"loss     fell from {before:.4g} to {lowest:.4g} between lr {first:.2g} and {last:.2g}")
    if curve.diverged is not None:
        lines.append(f"diverged at lr {curve.diverged:.2g}, step {len(curve.rates)} of {curve.planned}")
    else:
        lines.append(f"did not diverge up to lr {curve.rates[-1]:.2g}")
    if finding.proposal is None:
        lines.append(f"proposed nothing: {finding.reason}")
    else:
        lines.append(f"proposed {KEY}={finding.proposal:.2g}, where the loss falls fastest")
    return lines


def list_train_commands(finding: Finding, overrides: Sequence[str]) -> list[str]:
    """Return the commands that train with the proposed learning rate, and with three rates; [] without a proposal."""
    if finding.proposal is None:
        return []
    rates = [finding.proposal / SWEEP_FACTOR, finding.proposal, finding.proposal * SWEEP_FACTOR]
    return [format_train_command(overrides, each) for each in ([finding.proposal], rates)]


def format_train_command(overrides: Sequence[str], rates: Sequence[float]) -> str:
    """Return the command that trains with one learning rate, or sweeps over several."""
    keys = [override.partition("=")[0] for override in overrides]
    others = [
        override for override, key in zip(overrides, keys, strict=True) if key.lstrip("+") not in (KEY, "run_dir")
    ]
    key = f"+{KEY}" if f"+{KEY}" in keys else KEY  # the optimizer's YAML may have no lr
    sweep = ["-m"] * (len(rates) > 1)
    return shlex.join(["viewfinder", "train", *sweep, *others, f"{key}={','.join(f'{rate:.2g}' for rate in rates)}"])
