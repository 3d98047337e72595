"""A learning-rate range test, drawn and said."""

import logging
import shlex
from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from viewfinder.evaluation.lr_curve import Curve, Finding, compute_delay

log = logging.getLogger("viewfinder")
APART = 3.0
"""Factor between the learning rates of the sweep that is named."""
KEY = "optimizer.lr"


def draw_lr_curve(curve: Curve, finding: Finding, title: str) -> Figure:
    """The loss of each step and the smoothed loss over the learning rate, with the one that is proposed.

    The smoothed loss is drawn as many steps earlier as it runs behind.
    """
    figure = Figure(figsize=(8, 4.2), layout="constrained")
    axes = figure.subplots()
    late = compute_delay(curve.planned)
    axes.plot(curve.rates, curve.losses, color="#c3cad6", lw=1, label="loss of each step")
    drawn = curve.rates[: max(0, len(curve.rates) - late)]
    axes.plot(drawn, curve.smoothed[late:], color="#1f5fbf", lw=2, label="smoothed")
    if curve.diverged is not None:
        axes.axvline(curve.diverged, color="#b03a2e", lw=1, ls=":", label=f"diverged at {curve.diverged:.2g}")
    if finding.proposal is not None:
        axes.axvline(finding.proposal, color="#d9822b", lw=1.5, ls="--", label=f"proposed: {finding.proposal:.2g}")
    if finding.losses is not None:
        before, lowest = finding.losses
        floor = float(curve.losses[curve.losses <= before].min(initial=lowest))
        axes.set_ylim(floor - 0.1 * (before - floor), before + max(0.5 * (before - floor), 0.1 * abs(before)))
    axes.set(title=title, xlabel=f"learning rate ({KEY})", ylabel="training loss", xscale="log")
    axes.set_xlim(curve.rates[0], 1.1 * max(curve.rates[-1], curve.diverged or 0))
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="lower left")
    return figure


def say_finding(curve: Curve, finding: Finding, folder: Path, overrides: Sequence[str]) -> None:
    """What was found, where to see it, and what to type to use it."""
    if finding.fell is not None and finding.losses is not None:
        (first, last), (before, lowest) = finding.fell, finding.losses
        log.info(f"fell     from lr {first:.2g} to {last:.2g}: loss {before:.4g} to {lowest:.4g}")
    if curve.diverged is not None:
        log.info(f"diverged at lr {curve.diverged:.2g}, step {len(curve.rates)} of {curve.planned}")
    else:
        log.info(f"diverged nowhere up to lr {curve.rates[-1]:.2g}")
    if finding.proposal is None:
        log.info(f"proposed nothing: {finding.reason}")
    else:
        log.info(f"proposed {KEY}={finding.proposal:.2g}, where the loss falls fastest")
    log.info(f"curve    {folder / 'lr_range.png'}")
    if finding.proposal is not None:
        log.info("\nTrain with it, or try it beside a smaller and a larger one:")
        around = [finding.proposal / APART, finding.proposal, finding.proposal * APART]
        log.info(f"  {train_command(overrides, [finding.proposal])}")
        log.info(f"  {train_command(overrides, around)}")


def train_command(overrides: Sequence[str], rates: Sequence[float]) -> str:
    """What to type to train with one learning rate, or with each of several."""
    keys = [word.partition("=")[0] for word in overrides]
    kept = [word for word, key in zip(overrides, keys, strict=True) if key.lstrip("+") not in (KEY, "run_dir")]
    key = f"+{KEY}" if f"+{KEY}" in keys else KEY  # one that no YAML has
    sweep = ["-m"] * (len(rates) > 1)
    return shlex.join(["viewfinder", "train", *sweep, *kept, f"{key}={','.join(f'{rate:.2g}' for rate in rates)}"])
