"""Chart of a learning-rate range test."""

from matplotlib.figure import Figure

from viewfinder.evaluation.lr_curve import Curve, Finding, compute_delay
from viewfinder.reporting.style import BLUE, CHART_WIDTH, COLOURS, GREY, ORANGE, style_axes


def draw_lr_curve(curve: Curve, finding: Finding, title: str) -> Figure:
    """Draw the loss of each step and the smoothed loss by learning rate, with the proposed learning rate.

    The smoothed loss is shifted by its delay.
    """
    figure = Figure(figsize=(CHART_WIDTH, 4), layout="constrained")
    axes = figure.subplots()
    delay = compute_delay(curve.planned)
    axes.plot(curve.rates, curve.losses, color=GREY, lw=0.7, label="loss of each step")
    undelayed = curve.rates[: max(0, len(curve.rates) - delay)]
    axes.plot(undelayed, curve.smoothed[delay:], color=BLUE, lw=2, label="smoothed")
    if curve.diverged is not None:
        axes.axvline(curve.diverged, color=COLOURS[2], lw=1, ls=":", label=f"diverged at {curve.diverged:.2g}")
    if finding.proposal is not None:
        axes.axvline(finding.proposal, color=ORANGE, lw=1.5, ls="--", label=f"proposed: {finding.proposal:.2g}")
    if finding.losses is not None:
        before, lowest = finding.losses
        floor = float(curve.losses[curve.losses <= before].min(initial=lowest))
        axes.set_ylim(floor - 0.1 * (before - floor), before + max(0.5 * (before - floor), 0.1 * abs(before)))
    axes.set(title=title, xlabel="learning rate (optimizer.lr)", ylabel="training loss", xscale="log")
    axes.set_xlim(curve.rates[0], 1.1 * max(curve.rates[-1], curve.diverged or 0))
    style_axes(axes)
    axes.legend(frameon=False, loc="lower left")
    return figure
