"""Standard streams that are closed, full or ASCII alone do not disturb a command."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PREPARE = (
    "import os, sys\nfrom viewfinder.runs.streams import prepare_streams, require_written_output\nprepare_streams()\n"
)


def run_script(script: str, shell: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
    """Run Python lines after prepare_streams, with redirections in a shell's words."""
    command = f'exec "$0" -c "$1" {shell}'
    environment = {**os.environ, **variables}
    return subprocess.run(
        ["bash", "-c", command, sys.executable, PREPARE + script],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_an_ascii_terminal_gets_spellings_and_escapes() -> None:
    answer = run_script("print('61.20 ±0.31', 'gr\\xfcn', '\\udc80')", PYTHONIOENCODING="ascii")
    assert (answer.returncode, answer.stderr) == (0, "")
    assert answer.stdout == "61.20 +/-0.31 gr\\xfcn \\udc80\n"


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_process_whose_reader_has_ended_works_to_its_end(tmp_path: Path, unbuffered: str) -> None:
    script = (
        f"for number in range(20_000): print(number)\nrequire_written_output()\nopen({str(tmp_path / 'end')!r}, 'w')\n"
    )
    answer = run_script(script, "| head -n 1; exit ${PIPESTATUS[0]}", PYTHONUNBUFFERED=unbuffered)
    assert (answer.stdout, answer.stderr) == ("0\n", "")
    assert (tmp_path / "end").exists()


def test_closed_streams_lead_to_the_null_device_and_never_to_a_file_of_the_run(tmp_path: Path) -> None:
    script = f"file = open({str(tmp_path / 'file')!r}, 'w')\nprint('lost')\nprint('lost', file=sys.stderr)\n"
    script += "assert sys.stdin.read() == ''\nfile.write(str(file.fileno()))"
    answer = run_script(script, "<&- >&- 2>&-")
    assert answer.returncode == 0
    assert int((tmp_path / "file").read_text()) > 2


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_output_that_cannot_be_written_is_an_error() -> None:
    script = "print('lost')\ntry: require_written_output()\nexcept OSError as error: sys.exit(error.filename)"
    answer = run_script(script, "> /dev/full")
    assert (answer.returncode, answer.stderr) == (1, "standard output\n")
