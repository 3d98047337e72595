"""Process that follows a run folder and sends what is new to a tracker: python -m ... RUN NAME SESSION.

Its standard input closes when the run ends, after a line with the run's status; without that line, the run was killed.
Lines of its standard output are for the log of the run.
"""

import contextlib
import os
import sys
import threading
from pathlib import Path
from typing import TextIO

from filelock import Timeout

from viewfinder.config.loggers import list_trackers
from viewfinder.errors import UserError, printable
from viewfinder.reporting.trackers.sender import Sender
from viewfinder.reporting.trackers.tracker import describe_failure
from viewfinder.runs.folder import RunFolder

CONNECTED = "to "
"""Begin of the line that names the place; any other line is a failure."""
POLL_SECONDS = 1.0
RETRY_SECONDS = 30.0
"""Time between an error and the next attempt."""
SILENT_SECONDS = 30.0
"""Time without an answer after which the run's log says so."""
LAST_SECONDS = 60.0
"""Time that this process has after the end of the run."""


class Follower:
    """Loop of the process.

    Args:
        sender: sender of the run to the tracker.
        session: number of times that the run had been resumed when this process started.
        output: stream for lines that the run logs.
    """

    def __init__(self, sender: Sender, session: int, output: TextIO):
        self.sender, self.session, self.output = sender, session, output
        self.ended = threading.Event()
        self.status = "killed"
        self.has_reported_failure = False

    def run(self) -> bool:
        """Send until the run has ended; return whether everything has arrived."""
        threading.Thread(target=self._wait_for_end, daemon=True).start()
        seconds = 0.0
        while True:
            is_over = self.ended.wait(seconds)
            if count_sessions(self.sender.folder) > self.session:  # the run has been resumed, with another follower
                return True
            reason = self._try_to_send(self.status if is_over else None)
            if reason:
                self._report_failure(reason)
            if is_over:
                return not reason
            seconds = RETRY_SECONDS if reason else POLL_SECONDS

    def _wait_for_end(self) -> None:
        line = sys.stdin.readline().strip()
        self.status = line or self.status
        self.ended.set()
        timer = threading.Timer(LAST_SECONDS, lambda: os._exit(1))
        timer.daemon = True
        timer.start()

    def _try_to_send(self, status: str | None) -> str:
        """Send what is new; return the reason if that fails."""
        timer = threading.Timer(SILENT_SECONDS, self._report_failure, ["it does not answer"])
        timer.daemon = True
        timer.start()
        is_connected = self.sender.last_epoch is not None
        try:
            self.sender.send(status)
        except UserError as error:
            return error.reason
        except Exception as error:  # of another package, which may raise anything
            return describe_failure(error)
        finally:
            timer.cancel()
        if not is_connected or self.has_reported_failure:
            self.has_reported_failure = False  # another outage is worth another line
            self._print(f"{CONNECTED}{self.sender.place}")
        return ""

    def _report_failure(self, reason: str) -> None:
        if not self.has_reported_failure:
            self.has_reported_failure = True
            self._print(f"nothing arrives at {self.sender.place}: {reason}")

    def _print(self, text: str) -> None:
        with contextlib.suppress(OSError):  # the process of the run is gone
            print(printable(text), file=self.output, flush=True)


def count_sessions(run: RunFolder) -> int:
    """Return the number of times that a run has been resumed."""
    return len(run.read_run().get("resumed", []))


def main(folder: str, name: str, session: str) -> int:
    """Follow a run; return 0 if the tracker has all of it in the end."""
    if hasattr(os, "nice"):
        os.nice(10)  # training has the first claim on the cores
    output = os.fdopen(os.dup(1), "w", encoding="utf-8")
    for number in (1, 2):  # the tracker's package prints, too
        os.dup2(os.open(os.devnull, os.O_WRONLY), number)
    run = RunFolder(Path(folder))
    sender = Sender(run, name, list_trackers(run.read_settings())[name])
    try:
        with sender.lock().acquire(LAST_SECONDS + 10):  # an earlier process of a resumed run may still hold it
            return 0 if Follower(sender, int(session), output).run() else 1
    except Timeout:
        return 1


if __name__ == "__main__":
    # Threads of the tracker's package may still wait for its server.
    os._exit(main(*sys.argv[1:]))
