"""Data that one process has read are mapped by the others."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from viewfinder.config.overrides import compose_config
from viewfinder.config.yaml_text import to_settings
from viewfinder.data.module import ImageData
from viewfinder.data.shared import receive_data, share_data
from viewfinder.experiment.build import make_data
from viewfinder.runs import rendezvous


class Meeting:
    """Rendezvous within one process."""

    node = 0

    def __init__(self) -> None:
        self.files: list[int] = []
        self.values: dict[str, str] = {}
        self.is_first_on_node = True
        self.publish, self.receive = self.values.__setitem__, self.values.__getitem__


@pytest.fixture
def hand_over(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[ImageData, ImageData, bool]]:
    """Function that reads data with overrides and hands it to another module: (first, second, whether it has it)."""

    def act(*words: str) -> tuple[ImageData, ImageData, bool]:
        meeting: Any = Meeting()
        monkeypatch.setattr(rendezvous, "current", meeting)
        settings = to_settings(compose_config(list(words)))
        first, second = make_data(settings), make_data(settings)
        first.open()
        first.load(8)
        first.fingerprints()
        share_data(first)
        meeting.is_first_on_node = False
        monkeypatch.setattr(type(second), "list_pictures", None)
        return first, second, receive_data(second)

    return act


@pytest.mark.parametrize("storage", ["memory", "disk", "stream"])
def test_another_process_has_the_same_data_without_reading_them(
    hand_over: Callable[..., tuple[ImageData, ImageData, bool]], pictures: Path, storage: str
) -> None:
    first, second, is_received = hand_over("data=image_folder", f"data.root={pictures}", f"data.storage={storage}")
    assert is_received
    assert second.summarise() == first.summarise()
    for name, images in first.images.items():
        positions = torch.arange(len(images))
        for ours, theirs in zip(second.images[name].gather(positions), images.gather(positions), strict=True):
            assert torch.equal(ours, theirs)
        assert np.array_equal(second.splits[name].names, first.splits[name].names)
    if storage == "disk":
        assert [images.rows.file for images in second.images.values()] == [
            images.rows.file for images in first.images.values()
        ]


def test_splits_that_share_images_in_memory_share_them_in_another_process_too(
    hand_over: Callable[..., tuple[ImageData, ImageData, bool]],
) -> None:
    first, second, is_received = hand_over("data=digits")
    assert is_received
    assert len({id(images.rows.base) for images in second.images.values()}) == 1
    assert torch.equal(second.images["val"].pixels, first.images["val"].pixels)


def test_without_files_in_memory_each_process_reads_the_data(
    hand_over: Callable[..., tuple[ImageData, ImageData, bool]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(name: str) -> int:
        raise OSError(f"no file in memory for {name}")

    monkeypatch.setattr(os, "memfd_create", fail)
    first, second, is_received = hand_over("data=digits")
    assert not is_received
    assert (len(first.class_names), second.class_names) == (10, [])
