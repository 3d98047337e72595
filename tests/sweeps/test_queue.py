"""A sweep whose jobs are with a scheduler: what is recorded, what is submitted again, and when it ends."""

from pathlib import Path

import pytest
from conftest import raises_user_error
from fake_executor import FakeExecutor
from sweep_command import sweep_jobs

from viewfinder.runs.folder import RunFolder
from viewfinder.sweeps.executors.protocol import JobState, State
from viewfinder.sweeps.folder import SweepFolder, SweepJob
from viewfinder.sweeps.queue import CANCEL_FILE, MAX_ATTEMPTS, QueueDriver, open_queue, refuse_other_launcher
from viewfinder.sweeps.queue_file import QueueFile

LAUNCHER = {"_target_": "viewfinder.sweeps.executors.fake.Fake"}
WORDS = ["model=mlp", "data=digits", "seed=1,2,3,4,5"]


@pytest.fixture(scope="module")
def planned() -> list[SweepJob]:
    return sweep_jobs(*WORDS)


@pytest.fixture
def sweep(planned: list[SweepJob], tmp_path: Path) -> SweepFolder:
    sweep = SweepFolder(tmp_path / "lr", "lr", jobs=list(planned))
    sweep.path.mkdir()
    sweep.write()
    return sweep


def attach(sweep: SweepFolder, executor: FakeExecutor, max_failures: int | None = None) -> QueueDriver:
    """Type the sweep's command up to the submission of its jobs."""
    driver = QueueDriver(sweep, open_queue(sweep, LAUNCHER), executor, ["python", "train.py"], max_failures)
    driver.attach({job.folder: job for job in sweep.jobs if sweep.status(job.folder) != "finished"})
    driver.submit()
    return driver


def list_unfinished(sweep: SweepFolder) -> list[str]:
    return [job.folder for job in sweep.jobs if sweep.status(job.folder) != "finished"]


def statuses(sweep: SweepFolder) -> list[str]:
    return [sweep.status(job.folder) for job in sweep.jobs]


def test_a_batch_is_recorded_before_and_its_ids_after_it_is_submitted(sweep: SweepFolder, finished: RunFolder) -> None:
    executor = FakeExecutor(finished, batch_size=3)
    attach(sweep, executor)
    assert executor.submissions == [["0", "1", "2"], ["3", "4"]]
    assert executor.recorded == [[None] * 3, [None] * 2]
    queue = QueueFile.read(sweep.path)
    assert queue is not None
    assert [job.id for batch in queue.batches for job in batch.jobs] == list(map("id-{}".format, executor.tasks))
    assert list(executor.tasks) == [
        f"lr-{queue.token}-{batch}-{job}-1" for batch, jobs in ((0, "012"), (1, "34")) for job in jobs
    ]


def test_the_same_command_keeps_finished_jobs_leaves_queued_ones_alone_and_submits_the_rest(
    sweep: SweepFolder, finished: RunFolder
) -> None:
    executor = FakeExecutor(finished)
    attach(sweep, executor)
    names = list(executor.tasks)
    executor.on_poll = lambda: None
    executor.finish_all()
    for name, state in ((names[1], State.WAITING), (names[2], State.RUNNING)):
        (sweep.path / executor.tasks[name].folder / "run.json").unlink()
        executor.states[name] = JobState(state, f"id-{name}")
    (sweep.path / "3" / "run.json").unlink()  # its job is gone
    before = (sweep.path / "0" / "scores.json").stat().st_mtime_ns
    driver = attach(sweep, executor)
    assert executor.submissions[1:] == [["3"]]
    assert list(executor.tasks)[-1].endswith("-1-3-2")
    assert sorted(driver.queued) == ["1", "2", "3"]
    executor.on_poll = executor.finish_all
    driver.wait()
    assert statuses(sweep) == ["finished"] * 5
    assert (sweep.path / "0" / "scores.json").stat().st_mtime_ns == before


def test_jobs_are_found_again_if_their_ids_were_never_written(sweep: SweepFolder, finished: RunFolder) -> None:
    executor = FakeExecutor(finished)
    attach(sweep, executor)
    queue = QueueFile.read(sweep.path)
    assert queue is not None
    queue.set_ids(queue.batches[0].name, [None] * 5)  # as when the process is killed right after the submission
    executor.on_poll = lambda: None
    attach(sweep, executor)
    assert len(executor.submissions) == 1
    after = QueueFile.read(sweep.path)
    assert after is not None
    assert [job.id for job in after.batches[0].jobs] == list(map("id-{}".format, executor.tasks))


def test_a_lost_job_is_submitted_again_a_few_times_and_then_fails_with_the_reason(
    sweep: SweepFolder, finished: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    executor = FakeExecutor(finished)
    driver = attach(sweep, executor)
    executor.on_poll = executor.lose_all
    driver.wait()
    assert executor.submissions == [["0", "1", "2", "3", "4"]] * MAX_ATTEMPTS
    assert statuses(sweep) == ["failed"] * 5
    error = RunFolder(sweep.path / "0").read_run()["error"]
    assert "NODE_FAIL" in error
    assert "log of id-" in error
    assert "job 0 is lost (NODE_FAIL): submitted again" in capsys.readouterr().out


def test_a_job_that_its_scheduler_never_started_is_submitted_again_without_limit(
    sweep: SweepFolder, finished: RunFolder
) -> None:
    executor = FakeExecutor(finished)
    driver = attach(sweep, executor)

    def drop_or_finish() -> None:
        if len(executor.submissions) > 2 * MAX_ATTEMPTS:
            executor.finish_all()
        executor.states = {
            name: JobState(State.GONE, state.id, has_begun=False) if state.state == State.WAITING else state
            for name, state in executor.states.items()
        }

    executor.on_poll = drop_or_finish
    driver.wait()
    assert len(executor.submissions) == 2 * MAX_ATTEMPTS + 1
    assert statuses(sweep) == ["finished"] * 5


def test_a_cancelled_job_is_left_to_the_next_command(sweep: SweepFolder, finished: RunFolder) -> None:
    executor = FakeExecutor(finished)
    driver = attach(sweep, executor)
    executor.on_poll = lambda: executor.cancel([state.id for state in executor.states.values()])
    driver.wait()
    assert len(executor.submissions) == 1
    assert statuses(sweep) == ["waiting"] * 5
    attach(sweep, executor)
    assert len(executor.submissions) == 2


def test_nothing_is_submitted_after_the_sweep_is_cancelled(sweep: SweepFolder, finished: RunFolder) -> None:
    executor = FakeExecutor(finished, capacity=2)
    driver = attach(sweep, executor)
    (sweep.path / CANCEL_FILE).touch()
    driver.wait()
    assert executor.submissions == [["0", "1"]]
    assert sorted(driver.waiting) == ["2", "3", "4"]


def test_a_full_scheduler_gets_smaller_batches_and_the_rest_when_jobs_have_ended(
    sweep: SweepFolder, finished: RunFolder
) -> None:
    executor = FakeExecutor(finished, largest=2)
    attach(sweep, executor).wait()
    assert executor.submissions == [["0", "1"], ["2", "3"], ["4"]]
    assert statuses(sweep) == ["finished"] * 5


def test_a_scheduler_that_takes_no_job_at_all_is_an_error(sweep: SweepFolder, finished: RunFolder) -> None:
    with raises_user_error("takes no job: too many"):
        attach(sweep, FakeExecutor(finished, largest=0))


def test_no_more_jobs_are_submitted_than_the_executor_takes(sweep: SweepFolder, finished: RunFolder) -> None:
    executor = FakeExecutor(finished, capacity=2)
    attach(sweep, executor).wait()
    assert executor.submissions == [["0", "1"], ["2", "3"], ["4"]]


def test_a_scheduler_that_does_not_answer_for_a_while_is_asked_again(
    sweep: SweepFolder, finished: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    executor = FakeExecutor(finished)
    driver = attach(sweep, executor)
    answers = iter([True, True, False])

    def restart() -> None:
        executor.is_silent = next(answers, False)
        if not executor.is_silent:
            executor.finish_all()

    executor.on_poll = restart
    driver.wait()
    assert statuses(sweep) == ["finished"] * 5
    assert capsys.readouterr().out.count("squeue: fails; asking again") == 2
    assert len(executor.submissions) == 1


def test_waiting_jobs_are_cancelled_after_max_failures(sweep: SweepFolder, finished: RunFolder) -> None:
    executor = FakeExecutor(finished, capacity=3)
    driver = attach(sweep, executor, max_failures=1)
    (first, *_) = executor.tasks
    executor.on_poll = lambda: executor.states.update({first: JobState(State.GONE)})
    driver.attempts["0"] = MAX_ATTEMPTS
    driver.wait()
    assert statuses(sweep) == ["failed", *["waiting"] * 4]
    assert len(executor.submissions) == 1
    assert len(executor.cancelled) == 2


def test_jobs_with_one_launcher_keep_another_from_the_sweep(
    sweep: SweepFolder, finished: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    executor = FakeExecutor(finished)
    attach(sweep, executor)
    executor.on_poll = lambda: None
    monkeypatch.setattr("viewfinder.sweeps.queue.open_executor", lambda *_: executor)
    refuse_other_launcher(sweep.path, list_unfinished(sweep), LAUNCHER)
    with raises_user_error("5 jobs with another launcher.*viewfinder cancel"):
        refuse_other_launcher(sweep.path, list_unfinished(sweep), {"n_jobs": 1})
    executor.lose_all()
    refuse_other_launcher(sweep.path, list_unfinished(sweep), {"n_jobs": 1})
