"""Import paths of earlier versions still work."""

import importlib
import inspect
from pathlib import Path

import pytest
from torch import nn

from viewfinder.config.instantiate import accepts_argument, import_target
from viewfinder.config.moved import ADDED_ARGUMENTS, MOVED, update_targets
from viewfinder.config.overrides import compose_config
from viewfinder.experiment.build import build_network
from viewfinder.experiment.check import check_config
from viewfinder.models.pretrained import Pretrained

RESNET50 = "viewfinder.models.resnet50.ResNet50"


@pytest.mark.parametrize("name", MOVED)
def test_a_moved_module_is_imported_under_its_earlier_name(name: str) -> None:
    assert importlib.import_module(name) is importlib.import_module(MOVED[name])


def test_a_moved_class_is_imported_under_its_earlier_name() -> None:
    assert import_target("viewfinder.loss.CrossEntropy").__module__ == "viewfinder.training.losses"


def test_a_replaced_class_is_imported_as_the_class_that_replaces_it() -> None:
    assert import_target(RESNET50) is Pretrained
    assert accepts_argument({"_target_": RESNET50}, "load_weights")


def test_a_users_own_yaml_may_name_a_replaced_class(working_folder: Path) -> None:
    (working_folder / "conf" / "model").mkdir(parents=True)
    yaml = f"_target_: {RESNET50}\nweights: null\nhidden: [4]\n"
    (working_folder / "conf" / "model" / "mine.yaml").write_text(yaml)
    cfg = compose_config(["model=mine", "data=digits", "data.channels=3", "trainer=cpu"])
    check_config(cfg)
    network = build_network(cfg, channels=3, classes=5)
    assert isinstance(network, Pretrained)
    assert (network.variant, network.preprocess.image_size) == ("resnet50", 224)
    assert [layer.out_features for layer in network.head.modules() if isinstance(layer, nn.Linear)] == [4, 5]


@pytest.mark.parametrize("target", ADDED_ARGUMENTS)
def test_arguments_that_earlier_configurations_lack_have_their_defaults(target: str) -> None:
    parameters = inspect.signature(import_target(target)).parameters
    added = ADDED_ARGUMENTS[target]
    assert {name: parameters[name].default for name in added} == added
    stored = {"_target_": target, "widths": [4]}
    assert update_targets({"model": stored}) == {"model": stored | added}
    assert update_targets(stored | dict.fromkeys(added, 7)) == stored | dict.fromkeys(added, 7)
