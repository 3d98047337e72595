"""Malformed files of a run folder are rejected by name on one screen."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from conftest import Type
from untrusted_runs import assert_rejected, list_files, update_config

from viewfinder.runs.folder import RunFolder

DEEP, HUGE = 100_000, "9" * 5000
CONFIGS = {
    "empty": b"",
    "a number": b"5",
    "a list": b"[1, 2]",
    "cut": b"model: [",
    "no text": bytes(range(256)),
    "deep": b"a: " + b"[" * DEEP,
    "large": b"a: 1\n" * 300_000,
    "tag": b"model: !!python/object/apply:os.system ['touch canary']",
    "other tag": b"model: !!python/name:os.system",
    "alias": b"a: &a [1]\nb: [*a, *a]\n",
    "interpolation": b"name: ${oc.env:HOME}\n",
    "hidden interpolation": b"name: '\\${oc.env:HOME}'\n",
    "interpolated key": b"'${oc.env:HOME}': 1\n",
    "decoding": b"seed: ${oc.decode:5}\n",
    "keys twice": b"seed: 1\nseed: 2\n",
    "number as a key": b"1: 2\n",
    "date": b"name: 2026-01-01\n",
    "binary": b"name: !!binary aGk=\n",
    "other keys": b"name: run\n",
}
CHANGES: dict[str, dict[str, Any]] = {
    "no model": {"model": None},
    "no data": {"data": None},
    "a trainer in words": {"trainer": "cpu"},
    "a schedule in words": {"scheduler": "cosine"},
    "a model in words": {"model": "resnet"},
    "a model of nothing": {"model": {"width": 5}},
    "an augmentation of nothing": {"augment": {"flip": 0.5}},
    "a seed in words": {"seed": "one"},
    "a seed below zero": {"seed": -1},
    "a batch of none": {"data.batch_size": 0},
    "a rate that is none": {"optimizer.lr": float("nan")},
    "a network too wide": {"model.width": 10**15},
    "pictures too large": {"model.image_size": 10**9},
    "a loss of other things": {"loss": {"_target_": "torch.nn.CosineEmbeddingLoss"}},
    "a loss that is many": {"loss": {"_target_": "torch.nn.CrossEntropyLoss", "reduction": "none"}},
    "a network without pictures": {"model": {"_target_": "torch.nn.ReLU"}},
}
JSON = {
    "empty": b"",
    "cut": b'{"status": ',
    "a list": b"[]",
    "nothing": b"{}",
    "no text": bytes(range(256)),
    "deep": b"[" * DEEP,
    "a huge number": b'{"status": ' + HUGE.encode() + b"}",
}
FACTS: dict[str, list[dict[str, Any]]] = {
    "run.json": [
        {"status": 5}, {"threads": 0}, {"threads": 10**9}, {"epoch_seconds": [float("nan")]}, {"network": "net"},
        {"machine": {}}, {"versions": [1]}, {"seed": -1},
    ],
    "data.json": [
        {"class_names": [1, 2, 3]}, {"class_names": ["a", "a", "b"]}, {"class_names": []}, {"class_names": ["a", "b"]},
        {"channels": -1}, {"channels": float("nan")}, {"picture_size": [8]}, {"picture_size": [10**9, 10**9]},
        {"picture_size": ["8", "8"]}, {"class_counts": None}, {"fingerprint": "x"}, {"split_sizes": {"train": -1}},
    ],
    "scores.json": [
        {"best.epoch": 0}, {"best.epoch": 10**400}, {"best.test": None}, {"last": {}}, {"best.test.accuracy": "1"},
        {"best.test.accuracy": float("nan")}, {"best.test.f1": 2.0}, {"best.test.confusion": [[1, 2], [3]]},
        {"best.test.confusion.0.0": -1}, {"best.test.confusion.0.0": 10**30}, {"best.test.per_class": {}},
        {"best.val.loss": None},
    ],
}  # fmt: skip
HEAD = b"epoch,train/loss,train/accuracy,val/loss,val/accuracy\n"
TABLES = {
    "empty": b"",
    "other columns": b"a,b\n1,2\n",
    "no rows": HEAD,
    "words": HEAD + b"1,one,0.5,1,0.5\n",
    "no text": bytes(range(256)),
    "not numbers": HEAD + b"1,1,nan,1,nan\n",
    "too large": HEAD + b"1,1,1e300,1,0.5\n",
    "too many cells": HEAD + b"1,2,3,4,5,6,7,8\n1\n1,2,3,4,5,6,7,8,9\n",
}
VERBS = {
    "config.yaml": ("evaluate", "predict", "compare", "report"),
    "run.json": ("evaluate", "compare", "report"),
    "data.json": ("evaluate", "predict", "report"),
    "scores.json": ("evaluate", "compare", "report"),
    "metrics.csv": ("report",),
}


def assert_rejected_by_every_command(viewfinder: Type, run_copy: RunFolder, name: str) -> None:
    """Assert that every command that reads the file rejects it."""
    before = list_files(run_copy)
    for verb in VERBS[name]:
        assert_rejected(viewfinder(verb, ".", *["curves.png"] * (verb == "predict")), name)
    assert list_files(run_copy) == before


@pytest.mark.parametrize("content", CONFIGS.values(), ids=CONFIGS)
def test_an_invalid_configuration_is_rejected_by_the_name_of_its_file(
    run_copy: RunFolder, viewfinder: Type, content: bytes
) -> None:
    run_copy.config.write_bytes(content)
    assert_rejected_by_every_command(viewfinder, run_copy, "config.yaml")
    assert not Path("canary").exists()


@pytest.mark.parametrize("changes", CHANGES.values(), ids=CHANGES)
def test_a_configuration_without_a_valid_network_is_rejected(
    run_copy: RunFolder, viewfinder: Type, changes: dict[str, Any]
) -> None:
    update_config(run_copy, changes)
    assert_rejected(viewfinder("evaluate", "."))


@pytest.mark.parametrize("name", FACTS)
@pytest.mark.parametrize("content", JSON.values(), ids=JSON)
def test_an_invalid_json_file_is_rejected_by_its_name(
    run_copy: RunFolder, viewfinder: Type, name: str, content: bytes
) -> None:
    (run_copy.path / name).write_bytes(content)
    assert_rejected_by_every_command(viewfinder, run_copy, name)


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        pytest.param(name, changes, id=f"{name} {str(changes)[:40]}")
        for name, cases in FACTS.items()
        for changes in cases
    ],
)
def test_an_impossible_value_is_rejected_by_the_name_of_its_file(
    run_copy: RunFolder, viewfinder: Type, name: str, changes: dict[str, Any]
) -> None:
    facts = json.loads((run_copy.path / name).read_text(encoding="utf-8"))
    for key, value in changes.items():
        *path, last = (int(word) if word.isdigit() else word for word in key.split("."))
        node = facts
        for part in path:
            node = node[part]
        node[last] = value
    (run_copy.path / name).write_text(json.dumps(facts))
    assert_rejected_by_every_command(viewfinder, run_copy, name)


@pytest.mark.parametrize("content", TABLES.values(), ids=TABLES)
def test_an_invalid_table_is_rejected_by_its_name(run_copy: RunFolder, viewfinder: Type, content: bytes) -> None:
    run_copy.metrics.write_bytes(content)
    assert_rejected_by_every_command(viewfinder, run_copy, "metrics.csv")


@pytest.mark.parametrize(("verb", "code"), [("compare", 0), ("report", 2)])
def test_a_malformed_run_does_not_prevent_a_command_on_the_others(
    finished: RunFolder, viewfinder: Type, tmp_path: Path, verb: str, code: int
) -> None:
    for name in ("1", "2", "3"):
        shutil.copytree(finished.path, tmp_path / name, ignore=shutil.ignore_patterns("report.html"))
    (tmp_path / "2" / "scores.json").write_text("{")
    answer = viewfinder(verb, tmp_path)
    assert answer.code == code
    assert str(tmp_path / "2" / "scores.json") in answer.out + answer.err
    if verb == "report":
        assert [(tmp_path / name / "report.html").is_file() for name in "123"] == [True, False, True]
