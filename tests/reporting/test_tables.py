"""Durations and lines in tables and reports."""

import io

import pytest
from rich.console import Console

from viewfinder.reporting.tables import format_duration, print_wrapped


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "less than 0.1 seconds"),
        (0.84, "0.8 seconds"),
        (90, "90 seconds"),
        (150, "2.5 minutes"),
        (3 * 3600, "3.0 hours"),
        (2 * 86400, "2.0 days"),
    ],
)
def test_a_duration_has_the_largest_unit_of_which_there_are_two(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@pytest.mark.parametrize("width", [0, 40, 80, 10_000])
def test_a_line_is_wrapped_between_words_with_its_label_apart(width: int) -> None:
    text = f"warning  {'left out /a/path/that/is-longer/than/twenty/columns ' * 4}".rstrip()
    file = io.StringIO()
    print_wrapped(Console(file=file, width=width, markup=False), text)
    lines = file.getvalue().splitlines()
    assert " ".join(line.strip() for line in lines) == text
    assert all(line.startswith(9 * " ") for line in lines[1:])
    assert all(len(line) <= max(width, 20) or len(line.split()) == 1 for line in lines)
