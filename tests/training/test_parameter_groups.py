"""Rules give parameters their hyperparameters or optimizers, or are refused with what to change."""

from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Train
from test_invalid_phases import SMALL, TWO, refused
from torch import nn

from viewfinder.config.overrides import compose_config
from viewfinder.experiment.check import check_config
from viewfinder.models.custom_cnn import CustomCNN
from viewfinder.training.combined_optimizer import CombinedOptimizer
from viewfinder.training.optimizers.muon import Muon
from viewfinder.training.parameter_groups import ParameterGroups

SGD = {"_target_": "torch.optim.SGD", "lr": 0.1, "momentum": 0.9, "weight_decay": 5e-4}
MUON = {"_target_": "viewfinder.training.optimizers.muon.Muon", "lr": 0.02}


def make_network() -> CustomCNN:
    torch.manual_seed(0)
    return CustomCNN(3, 4, image_size=8, widths=[4, 8], hidden=[16])


def group(network: nn.Module, optimizer: torch.optim.Optimizer, key: str) -> dict[str, Any]:
    """Return the value of a hyperparameter for each parameter, by its name."""
    names = {parameter: name for name, parameter in network.named_parameters()}
    return {names[p]: entry[key] for entry in optimizer.param_groups for p in entry["params"]}


def test_roles_patterns_and_modules_name_parameters_and_rules_add_up() -> None:
    network = make_network()
    rules = {
        "no_decay": {"match": ["norm", "bias"], "weight_decay": 0.0, "lr_factor": None},
        "biases": {"match": "*.bias", "lr_factor": 64.0},
        "head": {"match": ["head"], "lr": 0.5, "momentum": 0.5},
    }
    optimizer = ParameterGroups(rules, network, SGD).make_optimizer(network.parameters())
    norms = {name for name, m in network.named_modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)}
    assert norms
    decay, rates = (group(network, optimizer, key) for key in ("weight_decay", "lr"))
    momenta = group(network, optimizer, "momentum")
    assert decay.keys() == {name for name, _ in network.named_parameters()}
    for name in decay:
        is_bias, in_head = name.endswith(".bias"), name.startswith("head.")
        assert decay[name] == (0.0 if is_bias or name.rpartition(".")[0] in norms else 5e-4)
        assert rates[name] == pytest.approx((0.5 if in_head else 0.1) * (64 if is_bias else 1))
        assert momenta[name] == (0.5 if in_head else 0.9)
    assert optimizer.param_groups[0]["lr"] == 0.1  # which is logged


def test_a_rule_may_have_an_optimizer_of_its_own() -> None:
    network = make_network()
    rules = {"convolutions": {"match": "conv", "optimizer": MUON}, "all": {"match": "*", "lr_factor": 2.0}}
    optimizer = ParameterGroups(rules, network, SGD).make_optimizer(network.parameters())
    assert isinstance(optimizer, CombinedOptimizer)
    sgd, muon = optimizer.optimizers
    assert isinstance(muon, Muon)
    convolutions = {id(m.weight) for m in network.modules() if isinstance(m, nn.Conv2d)}
    assert {id(p) for entry in muon.param_groups for p in entry["params"]} == convolutions
    assert len(convolutions) + sum(len(entry["params"]) for entry in sgd.param_groups) == len([*network.parameters()])
    assert [entry["lr"] for entry in muon.param_groups] == [0.04]
    assert [entry["lr"] for entry in sgd.param_groups] == [0.2]


def test_without_rules_an_optimizer_is_the_one_of_before() -> None:
    network = make_network()
    optimizer = ParameterGroups({}, network, SGD).make_optimizer(network.parameters())
    assert [len(entry["params"]) for entry in optimizer.param_groups] == [len([*network.parameters()])]


def test_in_a_phase_rules_multiply_its_rates(tiny: list[str]) -> None:
    from viewfinder.training.phases import Phases

    network = make_network()
    phases = Phases({"only": {"train": "all", "epochs": None, "lr": 0.8, "layer_decay": 0.5}}, network, 5, 0.1)
    rules = {"biases": {"match": "bias", "lr_factor": 3.0, "weight_decay": 0.0}}
    optimizer = ParameterGroups(rules, network, SGD).make_optimizer(phases.enter(0))
    rates = group(network, optimizer, "lr")
    assert rates["head.2.weight"] == 0.8
    assert rates["head.2.bias"] == pytest.approx(2.4)
    assert rates["features.0.0.weight"] == pytest.approx(0.1)
    assert optimizer.param_groups[0]["lr"] == 0.8


def test_a_network_may_lack_one_of_the_roles_of_a_rule() -> None:
    network = nn.Sequential(nn.Linear(3, 2))
    optimizer = ParameterGroups({"rule": {"match": ["norm", "bias"], "lr_factor": 2.0}}, network, SGD)
    assert group(network, optimizer.make_optimizer(network.parameters()), "lr") == {"0.weight": 0.1, "0.bias": 0.2}


NO_DECAY = "parameter_groups=no_decay"
OWN = "+parameter_groups.mine."
NORMS = "parameter_groups.norms_and_biases"
MUON_RULE, CONV = "parameter_groups=muon", "parameter_groups.convolutions"
MLP_ALONE = "model=mlp"
ADAGRAD = ["optimizer._target_=torch.optim.Adagrad", "~optimizer.betas", "~optimizer.fused"]


@pytest.mark.parametrize(
    ("words", "key", "said"),
    [
        ([f"{OWN}match=[gamma]"], "mine.match", "matches no parameter that is trained"),
        ([f"{OWN}match=[nrom]"], "mine.match", "Did you mean norm?"),
        (["model.freeze=true", f"{OWN}match=[features.*]"], "mine.match", "matches only parameters that are not"),
        (
            [f"{OWN}match=[bias]", f"{OWN}lr_factor=2", NO_DECAY, f"{NORMS}.lr_factor=3"],
            "mine.lr_factor", "is 3 in the rule norms_and_biases; both match features.0.0.bias",
        ),
        ([NO_DECAY, f"{NORMS}.weight_decay=-1"], f"{NORMS}.weight_decay", "is invalid for torch.optim"),
        ([NO_DECAY, f"+{NORMS}.weight_decy=1"], f"{NORMS}.weight_decy", "weight_decay"),
        ([NO_DECAY, f"{NORMS}.epochs=0"], f"{NORMS}.epochs", "must be"),
        ([f"{OWN}lr_factor=2"], "mine.match", "is required"),
        ([MLP_ALONE, MUON_RULE], f"{CONV}.match", "matches no parameter"),
        ([f"{OWN}match=[]"], "mine.match", "is required"),
        ([f"{OWN}match=['*']", f"{OWN}epochs=1"], "", "all parameters stop training after epoch 1"),
        ([MUON_RULE, f"{CONV}.match=[bias]"], f"{CONV}.optimizer", "two or more dimensions"),
        ([MUON_RULE, f"{CONV}.optimizer.lr=-1"], f"{CONV}.optimizer.lr", "greater than or equal to 0"),
        ([MUON_RULE, f"{CONV}.optimizer._target_=torch.nn.Linear"], "_target_", "is not a torch.optim.Optimizer"),
        ([MUON_RULE, *TWO], f"{CONV}.optimizer", "Set phases=none."),
        ([NO_DECAY, f"{NORMS}.epochs=1", *TWO], f"{NORMS}.epochs", "phase"),
        (["trainer.gradient_clip_algorithm=value"], "clip_algorithm", "requires trainer.gradient_clip_val"),
        ([*ADAGRAD, "scheduler=one_cycle"], "", "momentum"),
    ],
)  # fmt: skip
def test_a_rule_that_cannot_be_is_refused_before_anything_is_created(
    words: list[str], key: str, said: str, tiny: list[str], tmp_path: Path
) -> None:
    model = [] if MLP_ALONE in words else SMALL
    found = refused(tmp_path / "run", [*model, *words], tiny)
    (place,) = found
    assert key in place
    assert said in found[place]


def test_what_a_file_of_ones_own_names_is_checked_as_any_other_class() -> None:
    cfg = compose_config(["parameter_groups=muon"])
    cfg.parameter_groups.convolutions.optimizer["_target_"] = "os.system"
    with pytest.raises(Exception, match="standard library"):
        check_config(cfg)


def test_parameters_train_for_their_epochs_and_then_keep_their_values(train: Train, tmp_path: Path) -> None:
    words = [*SMALL, "optimizer=sgd", "optimizer.lr=0.05", "trainer.max_epochs=3", f"{OWN}match=[features.0]"]
    runs = [train(tmp_path / str(epochs), *words, f"{OWN}epochs={epochs}") for epochs in (1, 2)]
    one, two = (torch.load(run.last, weights_only=True)["state_dict"] for run in runs)
    first = train(tmp_path / "first", *words[:5], "trainer.max_epochs=1")
    after = torch.load(first.last, weights_only=True)["state_dict"]
    trained = [name for name in after if name.startswith("network.features.0.") and name.endswith(("weight", "bias"))]
    assert trained
    for name in trained:
        assert torch.equal(one[name], after[name])
        assert not torch.equal(two[name], after[name])
    assert not torch.equal(one["network.head.2.weight"], after["network.head.2.weight"])
