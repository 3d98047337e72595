"""Features on disk: one process writes them, others wait, and old ones make room."""

import os
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from viewfinder.runs.cache_dir import cache_folder
from viewfinder.training.features import store
from viewfinder.training.features.store import FeatureStore, evict


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return cache_folder() / "features"


def make_store(folder: Path, key: str = "a") -> FeatureStore:
    return FeatureStore(folder, key, (4, 3), 2, {})


def test_a_process_waits_while_another_computes_the_same_features(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "POLL_SECONDS", 0.05)
    content = torch.arange(12.0).view(4, 3)
    is_locked, may_continue = threading.Event(), threading.Event()

    def compute() -> None:
        writer = make_store(cache)
        with writer.locked():
            assert writer.count_valid_rows() == 0
            writer.open_for_append(0)
            is_locked.set()
            may_continue.wait()
            for block in content.split(2):
                writer.append(block)

    other = threading.Thread(target=compute)
    other.start()
    is_locked.wait()
    threading.Timer(0.2, may_continue.set).start()
    reader = make_store(cache)
    with reader.locked():
        assert reader.count_valid_rows() == 4
        assert torch.equal(reader.load(), content)
    other.join()


def test_a_process_that_computes_nothing_is_not_waited_for(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "POLL_SECONDS", 0.05)
    monkeypatch.setattr(store, "STALL_SECONDS", 0.0)
    content, stalled, features = torch.arange(12.0).view(4, 3), make_store(cache), make_store(cache)
    with stalled.locked():
        stalled.open_for_append(0)
        stalled.append(content[:2])
        with features.locked():
            assert features.unwritable.endswith("a.lock and computes no features")
            assert features.count_valid_rows() == 2
            features.open_for_append(2)
            features.append(content[2:])
            assert torch.equal(features.load(), content)
        stalled.append(content[2:])
        assert torch.equal(stalled.load(), content)


def test_the_least_recently_used_features_are_removed_beyond_a_limit(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for age, key in enumerate("abcd"):
        features = make_store(cache, key)
        with features.locked():
            features.open_for_append(0)
            features.append(torch.zeros(2, 3))
            features.append(torch.ones(2, 3))
        os.utime(features.index, (1e9 - age, 1e9 - age))
    monkeypatch.setattr(store, "MAX_FOLDER_BYTES", 100)  # 48 bytes features
    with make_store(cache, "c").locked():
        assert evict(cache, used={"d"}) == 96
    assert sorted(path.stem for path in cache.glob("*.rows")) == ["c", "d"]
    assert np.fromfile(cache / "c.rows", np.float32).sum() == 6
