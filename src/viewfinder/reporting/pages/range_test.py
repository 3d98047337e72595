"""Page of a learning-rate range test: lr_range.html, one file without network access."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from viewfinder.errors import printable
from viewfinder.evaluation.lr_curve import Curve, Finding
from viewfinder.reporting.charts.files import encode_svg
from viewfinder.reporting.pages.render import render_page
from viewfinder.reporting.range_test import describe_finding, list_train_commands


def render_range_test(
    curve: Curve, finding: Finding, chart: Figure, title: str, command: str, overrides: Sequence[str]
) -> str:
    """Return the page.

    Args:
        curve: loss by learning rate.
        finding: its result.
        chart: chart of both.
        title: name of the experiment.
        command: command line of the test.
        overrides: its overrides, for the commands that train.
    """
    return render_page(
        "range_test.html.j2",
        title=printable(title),
        command=printable(command),
        steps=len(curve.rates),
        proposal=None if finding.proposal is None else f"{finding.proposal:.2g}",
        lines=describe_finding(curve, finding),
        chart=encode_svg(chart),
        commands=[printable(line) for line in list_train_commands(finding, overrides)],
    )
