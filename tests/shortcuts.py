"""Shortcuts past what takes long and is the same in most tests: composing, drawing charts, writing to the disk."""

import contextlib
import functools
import os
import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lightning_fabric.utilities import registry
from matplotlib.figure import Figure
from omegaconf import DictConfig
from pandas import DataFrame

from viewfinder.config import overrides
from viewfinder.config.hydra_internals import apply_overrides, list_group_options, list_groups, parse_override
from viewfinder.config.overrides import find_conf
from viewfinder.config.own_files import list_own_folders
from viewfinder.experiment import run as experiment
from viewfinder.reporting.charts.confusion import draw_confusion
from viewfinder.reporting.charts.curves import NAMES, draw_curves
from viewfinder.reporting.charts.files import encode_svg, save_figure
from viewfinder.reporting.pages import run as page
from viewfinder.reporting.pages.run import write_report
from viewfinder.runs.atomic import replace_file
from viewfinder.runs.folder import RunFolder


@pytest.fixture(scope="session", autouse=True)
def compose_each_choice_once() -> Iterator[None]:
    """Cache compositions (65 ms each in Hydra) and lists of options (8 ms each).

    Hydra itself then applies the values to a copy of the composed choices.
    """
    choosable = {file.parent.name for file in find_conf().glob("*/*.yaml")}
    compose, composed = overrides.compose, {}
    options: dict[tuple[str, ...], list[str]] = {}
    shipped_groups: list[str] = []

    def compose_once(name: str, words: list[str], **settings: bool) -> DictConfig:
        parsed = [parse_override(word) for word in words]
        choices = [o for o in parsed if o.key_or_group in choosable or o.is_hydra_override() or o.is_sweep_override()]
        chosen = [str(choice.input_line) for choice in choices]
        known = (name, *map(str, list_own_folders()), *chosen, *settings.items())
        if known not in composed:
            composed[known] = pickle.dumps(compose(name, chosen, **settings))
        cfg = pickle.loads(composed[known])  # in half of the time of a deep copy
        apply_overrides(cfg, [override for override in parsed if override not in choices])
        return cfg

    def list_options_once(group: str, searchpath: list[str]) -> list[str]:
        known = (group, *map(str, list_own_folders()), *searchpath)
        if known not in options:
            options[known] = list_group_options(group, searchpath)
        return options[known]

    def list_groups_once(searchpath: list[str]) -> list[str]:
        if searchpath or list_own_folders():
            return list_groups(searchpath)
        if not shipped_groups:
            shipped_groups.extend(list_groups([]))
        return [*shipped_groups]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(overrides, "compose", compose_once)
        patch.setattr(overrides, "list_group_options", list_options_once)
        patch.setattr(overrides, "list_groups", list_groups_once)
        yield


@pytest.fixture(scope="session", autouse=True)
def find_entry_points_once() -> Iterator[None]:
    """Cache the plugins of Lightning that are installed, which each trainer looks for (8 ms)."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "entry_points", functools.cache(registry.entry_points))
        yield


@pytest.fixture(scope="session", autouse=True)
def draw_charts_once() -> Iterator[None]:
    """Draw the charts of a finished run once for equal epochs and phases, and for equal classes: half of a run's time.

    `viewfinder report` and a run within `draw_new_charts` draw them anew.
    """
    drawn: dict[Any, bytes] = {}
    encoded: dict[Any, str] = {}

    def save_once(chart: tuple[Any, Callable[[], Figure]], path: Path) -> None:
        shape, draw = chart
        if shape not in drawn:
            save_figure(draw(), path)
            drawn[shape] = path.read_bytes()
        with replace_file(path) as temporary:
            temporary.write_bytes(drawn[shape])

    def encode_once(chart: tuple[Any, Callable[[], Figure]]) -> str:
        shape, draw = chart
        if shape not in encoded:
            encoded[shape] = encode_svg(draw())
        return encoded[shape]

    def plan_curves(
        metrics: DataFrame, best: int, phases: Mapping[str, int], names: Sequence[str] = NAMES
    ) -> tuple[Any, Callable[[], Figure]]:
        return (len(metrics), best, *phases.items(), *names), lambda: draw_curves(metrics, best, phases, names)

    def plan_confusion(counts: np.ndarray, names: list[str], split: str) -> tuple[Any, Callable[[], Figure]]:
        return (split, *names), lambda: draw_confusion(counts, names, split)

    def write_report_with_known_charts(run: RunFolder, status: str) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(page, "draw_curves", plan_curves)
            patch.setattr(page, "draw_confusion", plan_confusion)
            patch.setattr(page, "save_figure", save_once)
            patch.setattr(page, "encode_svg", encode_once)
            write_report(run, status)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(experiment, "write_report", write_report_with_known_charts)
        yield


@contextlib.contextmanager
def draw_new_charts() -> Iterator[None]:
    """Draw the charts of the runs within this block from their own numbers."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(experiment, "write_report", write_report)
        yield


@pytest.fixture(scope="session", autouse=True)
def leave_files_in_memory() -> Iterator[None]:
    """Let the system write files to the disk when it likes, which only a loss of power would show."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        yield
