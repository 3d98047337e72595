"""The SLURM executor on what sbatch, squeue and sacct print; the output is that of SLURM 22.05."""

import pickle
from pathlib import Path

import pytest
import submitit
from conftest import raises_user_error
from fake_slurm import FakeSlurm
from sweep_command import Sweep, sweep_command

from viewfinder.sweeps.executors.protocol import Batch, JobState, QueuedJob, QueueFullError, State
from viewfinder.sweeps.executors.slurm_states import read_slurm_states
from viewfinder.sweeps.executors.submitit_slurm import SubmititSlurm
from viewfinder.sweeps.executors.task import Task

POLICY = "sbatch: error: Batch job submission failed: Job violates accounting/QOS policy (job submit limit, ...)"
SUBMITTED = "2026-11-27T09:00:00+00:00"


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSlurm:
    (tmp_path / "bin").mkdir()
    slurm = FakeSlurm(tmp_path / "bin")
    monkeypatch.setenv("PATH", slurm.path)
    slurm.answer("sbatch", "Submitted batch job 41\n")
    return slurm


@pytest.fixture
def sweep(tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Sweep:
    return sweep_command(tiny, tmp_path / "out", monkeypatch, capfd)


def make_batch(*ids: str | None, name: str = "lr-00c0ffee-0") -> Batch:
    return Batch(name, SUBMITTED, [QueuedJob(str(number), 1, job_id) for number, job_id in enumerate(ids)])


def make_tasks(count: int, folder: Path) -> list[Task]:
    return [Task(str(folder / str(number)), {}, [], [], str(folder), f"x-{number}-1") for number in range(count)]


def test_squeue_says_which_jobs_wait_and_run(slurm: FakeSlurm) -> None:
    rows = [
        "41_0|RUNNING|node1|2026-11-27T10:00:00|2026-11-27T10:05:00|None|lr-00c0ffee-0",
        "41_1|PENDING||2026-11-27T10:00:00|N/A|Priority|lr-00c0ffee-0",
        "41_2|COMPLETING|node2|2026-11-27T10:00:00|2026-11-27T10:05:00|None|lr-00c0ffee-0",
        "41_3|TIMEOUT|node2|2026-11-27T10:00:00|2026-11-27T10:05:00|TimeLimit|lr-00c0ffee-0",
        "41_4|COMPLETED|node2|2026-11-27T10:00:00|2026-11-27T10:05:00|None|lr-00c0ffee-0",
    ]
    slurm.answer("squeue", "\n".join(rows))
    states = read_slurm_states([make_batch("41_0", "41_1", "41_2", "41_3", "41_4")])
    assert [state.state for state in states.values()] == ["running", "waiting", "running", "gone", "gone"]
    assert [states[key].place for key in "012"] == ["node1", "", "node2"]
    assert states["1"].reason == "Priority"
    assert states["0"].since.startswith("2026-11-27T10:05:00")
    assert states["1"].since.startswith("2026-11-27T10:00:00")
    assert [states[key].reason for key in "34"] == ["TIMEOUT", ""]
    assert slurm.calls("sacct") == []


def test_sacct_says_how_jobs_ended_that_squeue_no_longer_lists(slurm: FakeSlurm) -> None:
    slurm.answer("squeue", "\nmaintenance tonight\n41_1|PENDING||2026-11-27T10:00:00|N/A|Resources|lr-00c0ffee-0\n")
    rows = ["41_0|CANCELLED by 1000|node1", "41_1|REQUEUED|node1", "41_2|NODE_FAIL|node2", "41_[5-9]|PENDING|"]
    slurm.answer("sacct", "\n".join(rows))
    states = read_slurm_states([make_batch("41_0", "41_1", "41_2", "41_3")])
    assert states["0"] == JobState(State.GONE, "41_0", "node1", "", "CANCELLED by 1000", is_cancelled=True)
    assert states["1"].state == State.WAITING
    assert states["2"] == JobState(State.GONE, "41_2", "node2", "", "NODE_FAIL")
    assert states["3"] == JobState(State.GONE, "41_3")
    assert "--starttime=2026-11-26" in slurm.calls("sacct")[0]


def test_jobs_are_gone_without_a_reason_where_there_is_no_accounting(slurm: FakeSlurm) -> None:
    slurm.answer("sacct", err="Slurm accounting storage is disabled\n", code=1)
    assert read_slurm_states([make_batch("41")]) == {"0": JobState(State.GONE, "41")}


def test_a_job_whose_id_was_never_written_is_found_by_the_name_of_its_batch(slurm: FakeSlurm) -> None:
    rows = [f"77_{index}|PENDING||2026-11-27T10:00:00|N/A|None|lr-00c0ffee-1" for index in range(2)]
    rows.append("41_0|RUNNING|node1|2026-11-27T10:00:00|2026-11-27T10:05:00|None|someone_else")
    slurm.answer("squeue", "\n".join(rows))
    batches = [make_batch("41_0"), Batch("lr-00c0ffee-1", SUBMITTED, [QueuedJob(key, 1, None) for key in "12"])]
    states = read_slurm_states(batches)
    assert states["0"].state == State.GONE  # SLURM has given its id to a job of another name
    assert [states[key].id for key in "12"] == ["77_0", "77_1"]


def test_squeue_without_an_answer_is_an_error_and_no_job_counts_as_gone(slurm: FakeSlurm) -> None:
    slurm.answer("squeue", err="slurm_load_jobs error: Unable to contact slurm controller (connect failure)\n", code=1)
    with raises_user_error("squeue.*Unable to contact slurm controller"):
        read_slurm_states([make_batch("41")])


def test_a_batch_becomes_a_requeueable_array_with_the_users_options(
    slurm: FakeSlurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("SLURM_ARRAY_JOB_ID", "9"), ("SLURM_CONF", "/etc/slurm.conf"), ("SUBMITIT_FOLDER", "x")):
        monkeypatch.setenv(name, value)
    executor = SubmititSlurm(
        folder=tmp_path / "lr", partition="gpu", timeout_min=90, signal_delay_s=60, gpus_per_node=2, mem_gb=1.5,
        array_parallelism=2, setup=["module load cuda"], additional_parameters={"reservation": "lab"}, account="me",
    )  # fmt: skip
    batch = make_batch(None, None, None)
    assert executor.submit(batch, make_tasks(3, tmp_path)) == ["41_0", "41_1", "41_2"]
    lines = (slurm.folder / "script.sh").read_text().splitlines()
    options = (
        "partition=gpu", "time=90", "signal=USR2@60", "gpus-per-node=2", "mem=1536MB", "array=0-2%2", "account=me",
        "reservation=lab", f"job-name={batch.name}", "requeue", "open-mode=append",
    )  # fmt: skip
    for option in options:
        assert f"#SBATCH --{option}" in lines
    assert "module load cuda" in lines
    environment = (slurm.folder / "environment").read_text().splitlines()
    assert "SLURM_CONF=/etc/slurm.conf" in environment
    assert not [line for line in environment if line.startswith(("SLURM_ARRAY", "SUBMITIT_FOLDER"))]
    stored = pickle.loads((tmp_path / "lr" / ".submitit" / "41_2_submitted.pkl").read_bytes())
    assert stored.function.task.folder == str(tmp_path / "2")


def test_a_batch_is_no_larger_than_the_clusters_arrays(slurm: FakeSlurm, tmp_path: Path) -> None:
    slurm.answer("scontrol", "MailProg = /bin/mail\nMaxArraySize            = 12\nMaxJobCount             = 10000\n")
    assert SubmititSlurm(folder=tmp_path).batch_size == 12
    slurm.answer("scontrol", "MaxArraySize            = 100001\n")
    assert SubmititSlurm(folder=tmp_path).batch_size == 1000


def test_a_users_limit_is_told_from_a_refusal(slurm: FakeSlurm, tmp_path: Path) -> None:
    executor = SubmititSlurm(folder=tmp_path)
    slurm.answer("sbatch", err=POLICY, code=1)
    with pytest.raises(QueueFullError, match="violates accounting/QOS policy"):
        executor.submit(make_batch(None), make_tasks(1, tmp_path))
    executor.check([])
    slurm.answer("sbatch", err="sbatch: error: Batch job submission failed: Invalid account", code=1)
    with raises_user_error("is refused by sbatch: Batch job submission failed: Invalid account"):
        executor.submit(make_batch(None), make_tasks(1, tmp_path))


def test_the_tasks_of_a_job_must_be_the_processes_of_its_run(slurm: FakeSlurm, tmp_path: Path) -> None:
    def check(devices: int | str, num_nodes: int, **keys: int) -> None:
        SubmititSlurm(folder=tmp_path, **keys).check([{"trainer": {"devices": devices, "num_nodes": num_nodes}}])

    check(1, 1)
    check(4, 1)
    check("auto", 1)
    check(2, 3, tasks_per_node=2, nodes=3)
    for devices, num_nodes, keys in ((1, 1, {"tasks_per_node": 2}), (2, 2, {}), (2, 1, {"nodes": 2})):
        with raises_user_error("hydra.launcher.tasks_per_node=.* but trainer.devices="):
            check(devices, num_nodes, **keys)


def test_jobs_are_cancelled_together_and_ended_ones_do_no_harm(slurm: FakeSlurm, tmp_path: Path) -> None:
    slurm.answer("scancel", err="scancel: error: Kill job error on job id 41_0: Invalid job id specified\n", code=1)
    SubmititSlurm(folder=tmp_path).cancel(["41_0", "41_1"])
    assert slurm.calls("scancel") == ["41_0 41_1"]


def test_what_slurm_would_refuse_is_refused_before_anything_is_created(
    sweep: Sweep, slurm: FakeSlurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = ["seed=1,2", "hydra/launcher=submitit_slurm"]
    slurm.answer("sbatch", err="allocation failure: Invalid partition name specified\n", code=1)
    slurm.answer("sinfo", "debug\nlong\n")
    answer = sweep(*line, "hydra.launcher.partition=debgu")
    assert answer.code == 2
    assert "hydra.launcher.partition = debgu" in answer.err
    assert "Did you mean debug? Partitions: debug, long." in answer.err
    assert slurm.calls("sbatch")[0].startswith("--test-only ")
    for word, message in (
        ("hydra.launcher.partitoin=gpu", "Did you mean partition?"),
        ("hydra.launcher.timeout_min=0", "hydra.launcher.timeout_min = 0"),
        ("hydra.launcher.setup=x", "must be a list"),
        ("seed=range(100000)", "100,000 jobs"),
    ):
        assert message in sweep(*line, word).err
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "sbatch, srun, squeue, scancel, scontrol cannot be found on PATH" in " ".join(sweep(*line).err.split())
    monkeypatch.setattr("viewfinder.sweeps.executors.submitit_submission.find_spec", lambda _: None)
    assert 'pip install "viewfinder[slurm]"' in sweep(*line).err
    assert not (tmp_path / "out").exists()


def test_submitit_is_a_version_whose_private_parts_are_known() -> None:
    assert submitit.__version__ in ("1.5.2", "1.5.3", "1.5.4")


def test_a_warning_that_is_due_at_the_start_of_a_job_is_refused(slurm: FakeSlurm, tmp_path: Path) -> None:
    with raises_user_error("must be less than the 120 seconds of timeout_min"):
        SubmititSlurm(folder=tmp_path, timeout_min=2, signal_delay_s=120).check([])
    SubmititSlurm(folder=tmp_path, timeout_min=3, signal_delay_s=120).check([])


def test_jobs_may_wait_for_nodes_that_are_down(slurm: FakeSlurm, tmp_path: Path) -> None:
    slurm.answer("sbatch", err="allocation failure: Requested node configuration is not available\n", code=1)
    for out in ("up down*\nup idle", "down idle\n", "up drained"):
        slurm.answer("sinfo", out)
        SubmititSlurm(folder=tmp_path).check([])
    slurm.answer("sinfo", "up idle\nup mixed\n")
    with raises_user_error("Requested node configuration is not available"):
        SubmititSlurm(folder=tmp_path).check([])
