"""Background processes that send a run to its trackers, one for each."""

import contextlib
import logging
import os
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from viewfinder.config.loggers import list_trackers
from viewfinder.errors import printable
from viewfinder.reporting.trackers import follow
from viewfinder.reporting.trackers.addresses import find_unknown_address, remember_address
from viewfinder.reporting.trackers.sender import fix_id
from viewfinder.runs.folder import RunFolder, describe_end
from viewfinder.runs.logging import log_wrapped

log = logging.getLogger("viewfinder")
END_SECONDS = 0.9
"""Time that a run waits for all trackers together when it ends: with their start, less than a second."""
left_running: list[subprocess.Popen[str]] = []
"""processes that still send when their run has ended"""


class TrackerProcess:
    """Process that sends a run to one tracker; a thread logs what it prints.

    Args:
        run: the run.
        name: name of the tracker.
    """

    def __init__(self, run: RunFolder, name: str):
        self.run, self.name, self.is_over, self.has_failed = run, name, False, False
        session = str(follow.count_sessions(run))
        package = str(Path(__file__).parents[3])
        paths = [package, *filter(None, [os.environ.get("PYTHONPATH")])]
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", follow.__name__, str(run.path.absolute()), name, session],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
            encoding="utf-8",
            start_new_session=True,  # Ctrl-C is for the run
        )
        threading.Thread(target=self._log_lines, daemon=True).start()

    def _log_lines(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            for line in lines:
                if not self.is_over:
                    self.has_failed = not line.startswith(follow.CONNECTED)
                    self.log(line.strip(), self.has_failed)

    def log(self, text: str, is_incomplete: bool) -> None:
        """Log text and, if something may not arrive, the command that sends it."""
        log_wrapped(f"{self.name:8} {text}")
        if is_incomplete:
            log.info(f"         To send it later: {format_sync_command(self.run)}")

    def end(self, status: str, deadline: float) -> None:
        """Tell the process how the run ended, wait until a deadline, and log if something may not arrive."""
        assert self.process.stdin is not None
        with contextlib.suppress(OSError):  # the process is gone
            self.process.stdin.write(f"{status}\n")
            self.process.stdin.close()
        try:
            code = self.process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            code = None
            left_running.append(self.process)
        self.is_over = True
        if code != 0 and not self.has_failed:  # otherwise it has been logged
            text = "goes on sending in the background" if code is None else "has not received everything"
            self.log(text, is_incomplete=True)


def format_sync_command(run: RunFolder) -> str:
    """Return the command that sends a run to its trackers."""
    return printable(shlex.join(["viewfinder", "sync", str(run.path)]))


@contextlib.contextmanager
def start_trackers(run: RunFolder, settings: Mapping[str, Any]) -> Iterator[None]:
    """Send a run to its trackers while the block trains it; a tracker that fails or hangs stops nothing.

    Args:
        run: the run, locked by this process.
        settings: its configuration as plain values.
    """
    trackers = list_trackers(settings) if run.is_writer else {}
    names: list[str] = []
    is_new = bool(trackers) and not follow.count_sessions(run)  # run.json may not exist yet where another rank writes
    for name, node in trackers.items():
        if is_new:
            remember_address(node)
        if address := find_unknown_address(node):
            log_wrapped(f"{name:8} gets nothing: this user has never trained with the address {printable(address)}")
            log.info(f"         To send it: {format_sync_command(run)}")
        else:
            names.append(name)
    left_running[:] = [process for process in left_running if process.poll() is None]
    processes: list[TrackerProcess] = []
    if names:
        fix_id(run)
    for name in names:
        try:
            processes.append(TrackerProcess(run, name))
        except OSError as error:  # for example no more processes
            log_wrapped(f"{name:8} cannot be started: {error.strerror}")
            log.info(f"         To send it later: {format_sync_command(run)}")
    status = "failed"
    try:
        yield
        status = "finished"
    except BaseException as error:
        status = str(describe_end(error)["status"])
        raise
    finally:
        deadline = time.monotonic() + END_SECONDS
        for process in processes:
            process.end(status, deadline)
