"""Client of a Ray cluster's jobs whose calls end within a time limit. This module imports Ray."""

import os
from typing import Any

from ray.job_submission import JobSubmissionClient
from requests import ConnectionError as NoConnection
from requests import Timeout

from viewfinder.sweeps.executors.ray import ADDRESS_VARIABLES

CONNECT_SECONDS = 5
FIRST_ANSWER_SECONDS, ANSWER_SECONDS = 8, 30


class RayClient(JobSubmissionClient):
    """Ray's own client of an address, with a time limit for each request.

    Args:
        address: URL of the cluster's dashboard.

    Raises:
        OSError: if nothing answers.
        RuntimeError, ValueError, KeyError: if the answer is not Ray's.
    """

    def __init__(self, address: str):
        self.answer_seconds = FIRST_ANSWER_SECONDS
        variables = {name: os.environ.pop(name) for name in ADDRESS_VARIABLES if name in os.environ}
        try:
            super().__init__(address)
        finally:
            os.environ.update(variables)
        self.answer_seconds = ANSWER_SECONDS

    def _do_request(self, method: str, endpoint: str, **options: Any) -> Any:
        # Without a limit, a port that accepts a connection and never answers would stop a sweep for good.
        return super()._do_request(method, endpoint, timeout=(CONNECT_SECONDS, self.answer_seconds), **options)


def describe_failure(error: Exception) -> str:
    """Return, on one line, why a request to a cluster failed."""
    if isinstance(error, Timeout):
        return "nothing answers in time"
    if isinstance(error, ConnectionError | NoConnection):
        return "nothing answers"
    line = " ".join(str(error).split())
    return line if len(line) <= 300 else f"{line[:300]}..."
