"""Page of accuracy against cost: chart and table in one file without network access."""

from viewfinder.errors import printable
from viewfinder.evaluation.frontier import SPLIT_NAMES, Frontier
from viewfinder.reporting.charts.files import encode_svg
from viewfinder.reporting.charts.frontier import draw_frontier
from viewfinder.reporting.frontier import describe_columns, format_row
from viewfinder.reporting.pages.render import render_page


def render_frontier(frontier: Frontier, title: str, command: str) -> str:
    """Return the page of a frontier.

    Args:
        frontier: accuracies and costs.
        title: the runs, as they were typed.
        command: command line that made the page.
    """
    rows = frontier.settings.to_dict("records")
    repeats = [name for name in ("seeds", "folds") if name in frontier.settings]
    return render_page(
        "frontier.html.j2",
        title=printable(title),
        command=printable(command),
        chart=encode_svg(draw_frontier(frontier)),
        narrow_chart=encode_svg(draw_frontier(frontier, is_narrow=True)),
        columns=[*repeats, f"{SPLIT_NAMES[frontier.split]} accuracy, %", "seconds", "multiply-adds", "frontier"],
        rows=[(printable(str(row["setting"])), [*(row[name] for name in repeats), *format_row(row)]) for row in rows],
        legend=describe_columns(frontier),
        notes=[printable(note) for note in frontier.notes],
    )
