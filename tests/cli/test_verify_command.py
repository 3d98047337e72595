"""`viewfinder verify` runs a record again and compares it."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from conftest import Train, Type, on_one_line

from viewfinder.runs.folder import RunFolder

HEADER = """\
# @package _global_
# recorded:
#   command: python train.py experiment=small model=mlp model.widths=[8] data=image_folder data.root=PICTURES
#   seeds: {seeds}
#   date: 2026-11-24
#   machine: this machine
#   scores:
{scores}
model: {{image_size: 8}}
data: {{batch_size: 8}}
trainer:
  {{accelerator: cpu, threads: 1, precision: 32-true, max_epochs: 3, progress_bar: false}}
"""


@pytest.fixture
def record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> "Record":
    (tmp_path / "conf" / "experiment").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    return Record(tmp_path / "conf" / "experiment" / "small.yaml")


class Record:
    """An experiment of the user whose header holds some scores."""

    def __init__(self, path: Path):
        self.path = path

    def write(self, *scores: str, seeds: Sequence[int] = (1, 2, 3)) -> None:
        lines = "\n".join(f"#   - {{{line}}}" for line in scores)
        self.path.write_text(HEADER.format(seeds=list(seeds), scores=lines), encoding="utf-8")


def find_run(folder: Path) -> RunFolder:
    (path,) = folder.glob("outputs/mlp/*_verify")
    return RunFolder.open(path)


def test_a_run_in_the_spread_of_the_record_agrees(
    record: Record, train: Train, pictures: Path, tmp_path: Path, viewfinder: Type
) -> None:
    settings = ["model=mlp", "model.widths=[8]", "trainer.max_epochs=3"]
    runs = [train(tmp_path / str(seed), *settings, f"seed={seed}") for seed in (1, 2)]
    values = [run.read_scores()["last"]["test"]["accuracy"] for run in runs]
    record.write(f"test/last: {np.mean(values):.4f} ±{max(np.std(values, ddof=1), 0.05):.4f}", seeds=(1, 2))
    answer = viewfinder("verify", "small", f"data.root={pictures}")
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.splitlines()[-1] == "small agrees with its record."
    run = find_run(tmp_path)
    assert run.metrics.read_bytes() == runs[0].metrics.read_bytes()  # seed 1, the first of the record
    (line,) = [line for line in answer.out.splitlines() if line.startswith("test, last epoch")]
    assert line.split()[-2:] == [f"{100 * values[0]:.2f}", "agrees"]


def test_the_first_epochs_are_compared_by_validation_alone(
    record: Record, pictures: Path, tmp_path: Path, viewfinder: Type
) -> None:
    record.write("val/epochs: [0.9999 ±0.0001, 0.5 ±0.0001], test/last: 0.5 ±0.0001")
    answer = viewfinder("verify", "small", f"data.root={pictures}", "--epochs", 1, "--seed", 7)
    assert answer.code == 1
    assert answer.out.splitlines()[-1] == "small disagrees with its record."
    assert [line.split()[-1] for line in answer.out.splitlines() if line.startswith("val, epoch")] == ["disagrees"]
    assert not any(line.startswith("test") for line in answer.out.splitlines())
    run = find_run(tmp_path)
    assert (run.status, len(run.read_metrics()), run.scores.exists()) == ("pruned", 1, False)
    assert run.read_settings()["seed"] == 7
    assert run.read_settings()["trainer"]["max_epochs"] == 3


def test_without_a_spread_or_in_another_precision_it_cannot_tell(
    record: Record, pictures: Path, viewfinder: Type
) -> None:
    record.write("precision: bf16-mixed, val/epochs: [0.5 ±0.1]")
    answer = viewfinder("verify", "small", f"data.root={pictures}", "--epochs", 1, "data.batch_size=4")
    assert answer.code == 3
    assert "changed  data.batch_size=4" in answer.out
    assert "Recorded in bf16-mixed, but this run is in 32-true." in on_one_line(answer.out)
    record.write("val/epochs: [0.5]", seeds=[1])
    answer = viewfinder("verify", "small", f"data.root={pictures}", "--epochs", 1)
    assert answer.code == 3
    assert "cannot tell: no spread recorded" in answer.out


def test_nothing_is_trained_where_nothing_can_be_compared(record: Record, tmp_path: Path, viewfinder: Type) -> None:
    record.write("test/best: 0.5 ±0.1")
    answer = viewfinder("verify", "small", "data.root=.", "--epochs", 1)
    assert (answer.code, answer.err) == (3, "")
    assert "The record has no accuracies of single epochs" in answer.out
    assert not (tmp_path / "outputs").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["small"], "data.root = PICTURES"),
        (["small", "data.root=.", "--epochs", 4], "is more than the experiment has"),
        (["smal", "data.root=."], "Did you mean small"),
        (["small", "data.root=.", "data.rot=."], "Did you mean data.root"),
    ],
)
def test_a_mistake_is_reported_before_anything_is_trained(
    words: list[str], message: str, record: Record, tmp_path: Path, viewfinder: Type
) -> None:
    record.write("val/epochs: [0.5 ±0.1]")
    answer = viewfinder("verify", *words)
    assert answer.code == 2
    assert message in on_one_line(answer.err)
    assert not (tmp_path / "outputs").exists()
