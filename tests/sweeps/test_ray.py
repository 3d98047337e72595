"""Jobs on a Ray cluster: wrong settings, clusters that do not answer, and states of jobs."""

import http.server
import shlex
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from conftest import on_one_line, raises_user_error
from sweep_command import sweep_command

from viewfinder.sweeps.executors.protocol import JobState, State
from viewfinder.sweeps.executors.ray import ADDRESS_VARIABLES, RayExecutor
from viewfinder.sweeps.executors.ray_states import FOLDER_MISSING, describe_ray_job

needs_ray = pytest.mark.skipif(find_spec("ray") is None, reason='not installed: pip install "viewfinder[ray]"')
ON_CPU = {"trainer": {"accelerator": "cpu", "devices": 1}}


@pytest.fixture(autouse=True)
def without_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ADDRESS_VARIABLES:
        monkeypatch.delenv(name, raising=False)


def test_a_sweep_without_ray_ends_with_one_error_and_creates_nothing(
    tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    answer = sweep_command(tiny, tmp_path, monkeypatch, capfd)("seed=1,2", "hydra/launcher=ray")
    assert answer.code == 2
    assert answer.err.startswith("One problem with the installation")
    assert 'pip install "viewfinder[ray]"' in on_one_line(answer.err)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("variable", [None, *ADDRESS_VARIABLES])
def test_an_address_that_is_no_url_is_refused_by_the_name_of_its_key_or_variable(
    variable: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if variable is not None:
        monkeypatch.setenv(variable, "head:6379")
    executor = RayExecutor(folder=tmp_path, address=None if variable else "head:6379")
    with raises_user_error(f"{variable or 'hydra.launcher.address'} = head:6379 must be the URL"):
        executor.check([ON_CPU])


def test_gpus_that_do_not_suffice_are_refused(tmp_path: Path) -> None:
    with raises_user_error("num_gpus = 1.5 must be a whole number"):
        RayExecutor(folder=tmp_path, num_gpus=1.5).check([ON_CPU])
    with raises_user_error("num_gpus = 0.5 must be at least trainer.devices, which is 2"):
        RayExecutor(folder=tmp_path, num_gpus=0.5).check([ON_CPU, {"trainer": {"accelerator": "gpu", "devices": 2}}])
    with raises_user_error("trainer.num_nodes must be 1"):
        RayExecutor(folder=tmp_path).check([{"trainer": {"accelerator": "cpu", "num_nodes": 2}}])


def test_a_job_ends_at_once_on_a_node_that_does_not_see_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "it's $HOME"
    command = RayExecutor(folder=folder, python="true")._format_entrypoint()
    ended = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    assert ended.returncode == FOLDER_MISSING
    assert ended.stdout.startswith(f"{folder} is missing")
    folder.mkdir()
    assert subprocess.run(["sh", "-c", command], check=False).returncode == 0


@pytest.mark.parametrize(
    ("settings", "python"),
    [
        ({}, sys.executable),
        ({"runtime_env": {"env_vars": {"A": "1"}}}, sys.executable),
        ({"runtime_env": {"uv": ["timm"]}}, "python"),
        ({"runtime_env": {"uv": ["timm"]}, "python": "python3"}, "python3"),
    ],
)
def test_jobs_use_this_python_unless_their_environment_brings_its_own(
    settings: dict[str, Any], python: str, tmp_path: Path
) -> None:
    words = shlex.split(RayExecutor(folder=tmp_path, **settings)._format_entrypoint())
    assert words[words.index("exec") + 1] == python


TIMEOUT = "it waited longer than RAY_JOB_START_TIMEOUT_SECONDS of the cluster's head node"
LOST = "Job supervisor actor died: The actor died.\n\tpid: 1\nThe actor died because its node has died. Node Id: 7"
WAITED = "Job supervisor actor failed to start within 900.0 seconds. See RAY_JOB_START_TIMEOUT_SECONDS."


@pytest.mark.parametrize(
    ("report", "state"),
    [
        ({"status": "PENDING"}, JobState(State.WAITING, "x", reason="waits for free resources")),
        (
            {"status": "RUNNING", "driver_agent_http_address": "http://10.0.0.7:52365"},
            JobState(State.RUNNING, "x", "10.0.0.7"),
        ),
        ({"status": "SUCCEEDED", "driver_exit_code": 0}, JobState(State.GONE, "x")),
        ({"status": "STOPPED"}, JobState(State.GONE, "x", reason="stopped", is_cancelled=True)),
        ({"status": "FAILED", "message": LOST}, JobState(State.GONE, "x", reason="its node was lost")),
        ({"status": "FAILED", "message": "a", "driver_exit_code": 2}, JobState(State.GONE, "x", reason="exit code 2")),
        (
            {"status": "FAILED", "message": "failed, last logs:\na\nno such file\n", "driver_exit_code": 127},
            JobState(State.GONE, "x", reason="exit code 127: no such file"),
        ),
        ({"status": "FAILED", "message": "a\nb \n", "driver_exit_code": 66}, JobState(State.GONE, "x", reason="b")),
        (
            {"status": "FAILED", "message": WAITED},
            JobState(State.GONE, "x", reason=TIMEOUT, has_begun=False),
        ),
        (None, JobState(State.GONE, "x", reason="the cluster does not know it")),
    ],
)  # fmt: skip
def test_the_state_of_a_job_is_what_the_cluster_reports(report: dict[str, Any] | None, state: JobState) -> None:
    missing = dict.fromkeys(["message", "driver_exit_code", "start_time", "end_time", "driver_agent_http_address"])
    job: Any = None if report is None else SimpleNamespace(**missing | report)
    assert describe_ray_job("x", job) == state


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port that accepts connections and never answers."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server.getsockname()[1]


@pytest.fixture
def other_server() -> Iterator[int]:
    """A web server that is not Ray's."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler) as server:
        threading.Thread(target=server.serve_forever).start()
        yield server.server_port
        server.shutdown()


@needs_ray
def test_a_cluster_that_does_not_answer_is_one_error_within_the_time_limit(
    silent_port: int, other_server: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from viewfinder.sweeps.executors import ray_client

    monkeypatch.setattr(ray_client, "FIRST_ANSWER_SECONDS", 0.1)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        reasons = {
            unused.getsockname()[1]: "nothing answers",
            silent_port: "nothing answers in time",
            other_server: ".*501",
        }
        for port, reason in reasons.items():
            address = f"http://127.0.0.1:{port}"
            monkeypatch.setenv("RAY_ADDRESS", "http://127.0.0.1:9")
            with raises_user_error(f"hydra.launcher.address = {address} is not the dashboard .*: {reason}"):
                RayExecutor(folder=tmp_path, address=address).check([ON_CPU])


@needs_ray
def test_a_real_report_has_the_fields_that_are_read() -> None:
    from ray.job_submission import JobDetails, JobStatus, JobType

    for status in JobStatus:
        job = JobDetails(type=JobType.SUBMISSION, status=status, entrypoint="true")
        expected = {"PENDING": State.WAITING, "RUNNING": State.RUNNING}.get(status.value, State.GONE)
        assert describe_ray_job("x", job).state == expected
