"""The group `augment`: one, several in order, arguments of each, sweeps over them, and what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest
from command_lines import QUICK, expect_error, expect_error_before_torch, find_problem

from viewfinder.config.augmentations import list_augmentations, validate_augmentations
from viewfinder.config.instantiate import import_target
from viewfinder.config.overrides import compose_config, parse_overrides
from viewfinder.config.yaml_text import to_settings
from viewfinder.experiment.augmentations import build_augmentations
from viewfinder.sweeps.plan import plan_jobs
from viewfinder.training.features.cache import feature_cache_blocker

CROP = "viewfinder.data.augmentations.crop.RandomCrop"


def compose(*words: str) -> dict[str, Any]:
    return to_settings(compose_config([*QUICK, *words]))["augment"]


@pytest.mark.parametrize(
    ("words", "names"),
    [
        ([], []),
        (["augment=none"], []),
        (["augment=basic"], [""]),
        (["augment=cutout"], ["cutout"]),
        (["augment=[flip,crop]"], ["flip", "crop"]),
        (["augment=[crop,flip]"], ["crop", "flip"]),
        (["augment=[none,crop]"], ["crop"]),
        (["augment=airbench"], ["alternating_flip", "crop"]),
        (["augment=[airbench,cutout]"], ["alternating_flip", "crop", "cutout"]),
        (["augment=[airbench,cutout]", "~augment.crop"], ["alternating_flip", "cutout"]),
    ],
)
def test_augmentations_come_in_the_order_that_is_typed(words: list[str], names: list[str]) -> None:
    augment = compose(*words)
    assert [*list_augmentations(augment)] == names
    pipeline = build_augmentations(augment, 0)
    assert [*(pipeline.augmentations if pipeline else {})] == names


def test_an_argument_of_each_augmentation_is_a_key() -> None:
    augment = compose("augment=[airbench,cutout]", "augment.crop.padding=3", "augment.cutout.size=5")
    assert augment["crop"] == {"_target_": CROP, "padding": 3, "border": "reflect"}
    assert augment["cutout"]["size"] == 5


def test_augmentations_and_their_arguments_are_swept() -> None:
    words = ["augment=[crop],[crop,flip]", "augment.crop.padding=2,4"]
    jobs = plan_jobs(parse_overrides([*QUICK, *words])).jobs
    swept = [([*job.config["augment"]], job.config["augment"]["crop"]["padding"]) for job in jobs]
    assert swept == [(["crop"], 2), (["crop"], 4), (["crop", "flip"], 2), (["crop", "flip"], 4)]


def test_an_experiment_changes_and_drops_augmentations_of_a_composition(working_folder: Path) -> None:
    (working_folder / "conf" / "experiment").mkdir(parents=True)
    lines = [
        "# @package _global_", "defaults:", "  - override /augment: [airbench, mixup]",
        "augment:", "  crop: null", "  mixup:", "    alpha: 0.5",
    ]  # fmt: skip
    (working_folder / "conf" / "experiment" / "mine.yaml").write_text("\n".join(lines))
    nodes = list_augmentations(compose("experiment=mine"))
    assert [*nodes] == ["alternating_flip", "mixup"]
    assert nodes["mixup"]["alpha"] == 0.5


@pytest.mark.parametrize(
    ("word", "received", "rule"),
    [
        ("augment=[crop,flipp]", "flipp", "Did you mean flip?"),
        ("augment=[]", "(empty)", "unknown choice"),
    ],
)
def test_a_wrong_name_among_several_is_answered_by_itself(
    word: str, received: str, rule: str, working_folder: Path
) -> None:
    problem = find_problem(expect_error_before_torch(*QUICK, word), "augment")
    assert problem.received == received
    assert rule in problem.rule


def test_the_key_of_an_augmentation_that_is_not_chosen_says_how_to_choose_it(working_folder: Path) -> None:
    (problem,) = expect_error_before_torch(*QUICK, "augment=crop", "augment.cutout.size=4").problems
    assert problem.rule == "belongs to the augmentation cutout, which is not chosen"
    assert "augment=[crop,cutout]" in problem.remedy


@pytest.mark.parametrize(
    ("words", "key", "rule"),
    [
        (["augment=crop", "augment.crop.padding=-1"], "augment.crop.padding", "greater than or equal to 0"),
        (["augment=crop", "augment.crop.border=edge"], "augment.crop.border", "'zero' or 'reflect'"),
        (["augment=mixup", "augment.mixup.alpha=0"], "augment.mixup.alpha", "greater than 0"),
        (
            ["augment=random_erasing", "augment.random_erasing.scale=[0.5,0.1]"],
            "augment.random_erasing.scale",
            "lowest",
        ),
        (["augment=[basic,cutout]"], "augment", "cannot be combined"),
        (["augment=[basic,flip]"], "augment", "cannot be combined"),
    ],
)
def test_an_invalid_augmentation_is_named_by_its_key(
    words: list[str], key: str, rule: str, working_folder: Path
) -> None:
    problem = find_problem(expect_error(*QUICK, *words), key)
    assert rule in problem.rule


@pytest.mark.parametrize(
    ("augment", "key"),
    [
        ([1], "augment"),
        ({"flip": 0.5}, "augment.flip"),
        ({"crop": {"padding": 4}}, "augment.crop"),
        ({"crop": {"_target_": CROP, "pading": 4}}, "augment.crop.pading"),
        ({"net": {"_target_": "viewfinder.models.mlp.MLP"}}, "augment.net._target_"),
        ({"_target_": "viewfinder.data.augment.Basic", "crop": {"_target_": CROP}}, "augment"),
    ],
    ids=json.dumps,
)
def test_an_invalid_group_is_refused(augment: Any, key: str) -> None:
    from viewfinder.config.trust import TrustPolicy

    assert [problem.key for problem in validate_augmentations(augment, TrustPolicy().import_trusted)] == [key]


def test_every_class_of_a_valid_group_is_imported_as_an_augmentation() -> None:
    groups = []

    def record(target: Any, group: str) -> Any:
        groups.append(group)
        return import_target(target)

    assert validate_augmentations({"a": {"_target_": CROP}, "b": None, "c": {"_target_": CROP}}, record) == []
    assert groups == ["augment", "augment"]


def test_the_reason_against_cached_features_names_every_augmentation() -> None:
    reason = feature_cache_blocker(["a.RandomCrop", "b.MixUp"], None)
    assert reason == "augment (RandomCrop, MixUp) changes the images every epoch"
    assert feature_cache_blocker([], None) == ""
