"""Drawn commands end with one message or a result, never with a traceback; see tests/stress/command_fuzz.py for more.

VIEWFINDER_FUZZ=300 pytest tests/cli/test_command_fuzz.py runs 300 of them.
"""

import os
import sys
from pathlib import Path

import pytest
from command_fuzz_cases import Case, Ending, Workshop, draw_cases, find_fault
from hypothesis import HealthCheck, Phase, given, settings

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks a process with threads")
COUNT = int(os.environ.get("VIEWFINDER_FUZZ", "12"))


def test_drawn_commands_end_with_a_message_or_a_result(working_folder: Path) -> None:
    workshop = Workshop(working_folder)

    @settings(
        max_examples=COUNT, deadline=None, database=None, derandomize=True,
        phases=[Phase.generate], suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(draw_cases())
    def check(case: Case) -> None:
        ending = workshop.run(case)
        assert find_fault(case, ending) == "", f"{case}\n{ending.out}\n{ending.err}"

    check()


@pytest.mark.parametrize(
    ("ending", "fault"),
    [
        (Ending(0, "a table", "", 1), ""),
        (Ending(2, "", "One problem", 1), ""),
        (Ending(2, "", "", 1), "no message"),
        (Ending(0, "", "", 1), "exit code 0 without a result"),
        (Ending(1, "", "Aborted!", 1), "exit code 1"),
        (Ending(2, "", "Traceback (most recent call last):\n", 1), "Traceback (most recent call last)"),
        (Ending(0, "a table", "--- Logging error ---\n", 1), "--- Logging error"),
    ],
)
def test_the_fuzz_recognises_a_fault(ending: Ending, fault: str) -> None:
    assert find_fault(Case(["compare", "run"], {}), ending) == fault
