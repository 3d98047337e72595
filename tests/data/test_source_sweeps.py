"""Manifests and published data are swept, each job as it is trained alone."""

from pathlib import Path

import pytest
from conftest import QUICK, Type, train_into
from huggingface_files import save
from torchvision_files import write_mnist

OPTIONS = [
    "model=mlp",
    "model.widths=[8]",
    "model.image_size=8",
    *QUICK,
    "trainer.max_epochs=1",
    "data.sampler=balanced",
]
FILES = ("metrics.csv", "predictions.csv", "scores.json")


@pytest.mark.slow
@pytest.mark.parametrize("source", ["csv", "torchvision", "huggingface"])
def test_each_job_of_a_sweep_is_the_run_alone(
    source: str, manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, viewfinder: Type
) -> None:
    if source == "csv":
        words = [*OPTIONS, "data=csv", f"data.path={manifest}"]
    elif source == "torchvision":
        write_mnist(tmp_path / "in", monkeypatch)
        words = [*OPTIONS, "data=torchvision", "data.name=FashionMNIST", f"data.root={tmp_path / 'in'}"]
    else:
        words = [*OPTIONS, "data=huggingface", f"data.path={save(tmp_path / 'in')}"]
    typed = ["-m", *words, "data.batch_size=8,4", "sweep.name=both", f"output_dir={tmp_path / 'out'}"]
    answer = viewfinder("train", *typed)
    assert answer.code == 0, answer.err
    jobs = [path.parent for path in (tmp_path / "out" / "both").glob("*/scores.json")]
    alone = train_into(tmp_path / "alone", *words, "data.batch_size=4")
    outcomes = [[(job / name).read_bytes() for name in FILES] for job in jobs]
    assert len(outcomes) == 2
    assert [(alone.path / name).read_bytes() for name in FILES] in outcomes
