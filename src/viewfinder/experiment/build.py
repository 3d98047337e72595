"""From a checked configuration to the parts of an experiment: data, network, classifier, trainer."""

import math
from dataclasses import replace
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch import nn

from viewfinder.config.instantiate import STAGE, accepts_argument, import_target, instantiate, validate_node
from viewfinder.config.phases import read_phases, validate_phase_epochs, validate_phases
from viewfinder.config.trust import TrustPolicy, parse_allow, untrusted_packages, validate_allow
from viewfinder.config.validate import Text, Whole, validate_arguments
from viewfinder.data.module import ImageData
from viewfinder.data.preprocess import get_preprocess
from viewfinder.data.seeding import seed_everything, seed_torch
from viewfinder.errors import Problem, UserError
from viewfinder.models.state_dict import WeightsMismatchError
from viewfinder.models.weights import suggest_overrides
from viewfinder.training.classifier import Classifier
from viewfinder.training.features.cache import feature_cache_blocker
from viewfinder.training.phases import Phases

GIVEN: dict[str, frozenset[str]] = {
    "model": frozenset({"channels", "classes", "load_weights"}),
    "data": frozenset(),
    "augment": frozenset(),
    "optimizer": frozenset({"params"}),
    "scheduler": frozenset({"optimizer", "total_steps"}),
    "trainer": frozenset({"callbacks"}),
    "loss": frozenset({"counts"}),
}
"""Group -> arguments of its class that are handed over here, which no YAML holds."""


MAY_BE_EMPTY = {"augment", "scheduler"}


def top_level(
    seed: Whole, name: Text, output_dir: Text, run_dir: Text | None, allow: Text | list[Text] | None = None
) -> None:
    """The keys that belong to no group, with what they may hold."""


def to_settings(cfg: DictConfig) -> dict[str, Any]:
    """Return a configuration as plain, resolved values."""
    settings: Any = OmegaConf.to_container(cfg, resolve=True)
    return settings


def check_config(cfg: DictConfig, allowed: TrustPolicy | None = None) -> None:
    """Compare every constructor's arguments with its signature, and construct what is cheap.

    Args:
        allowed: what it may name; by default the person's own files, and what its key `allow` says.

    Raises:
        UserError: naming all that is wrong at once.
    """
    values: Any = OmegaConf.to_container(cfg, resolve=True)
    problems = validate_arguments("", top_level, values)
    names = () if problems else parse_allow(values.get("allow"))
    problems += validate_allow(names)
    find = (allowed or TrustPolicy(names, own_files=True)).import_trusted
    for group, given in GIVEN.items():
        node = values.get(group)
        if not node and group not in MAY_BE_EMPTY:
            problems.append(Problem(group, "must be given", remedy="No run does without; see conf/config.yaml."))
            continue
        found = validate_node(group, node, given, find)
        problems += found or _try(cfg, group)
    if not problems:
        phases = values.get("phases")
        problems += validate_phases(phases) or validate_phase_epochs(phases, cfg.trainer.get("max_epochs"))
    if problems:
        raise UserError(STAGE, problems)


def _try(cfg: DictConfig, group: str) -> list[Problem]:
    """What a group's constructor itself refuses; networks and losses, and schedules of phases, wait for the data."""
    if group in ("model", "loss") or not cfg.get(group) or (group == "scheduler" and cfg.get("phases")):
        return []
    lr = cfg.optimizer.get("lr") if cfg.get("optimizer") else None
    try:
        _try_at(cfg, group, lr if isinstance(lr, int | float) and 0 < lr < math.inf else 0.1)
    except UserError as error:
        return error.problems
    return []


def _try_at(cfg: DictConfig, group: str, lr: float) -> None:
    """Raises UserError if a group's constructor refuses its arguments, or a learning rate."""
    parameter = nn.Parameter(torch.zeros(1))
    instantiate(cfg[group], group, params=[parameter], optimizer=torch.optim.SGD([parameter], lr), total_steps=10)


def open_data(cfg: DictConfig, stored: tuple[int, tuple[int, int]] | None = None) -> ImageData:
    """The data, listed and split, not yet read; `stored` as in ImageData.open.

    Raises:
        UserError: as ImageData.open.
    """
    data = instantiate(cfg.data, "data")
    data.seed = cfg.seed
    data.limit_batches = cfg.trainer.get("limit_batches")
    data.augment = instantiate(cfg.augment, "augment") if cfg.augment else None
    data.open(stored)
    return data


def build_network(cfg: DictConfig, channels: int, classes: int, load_weights: bool = True) -> nn.Module:
    """The network for pictures of so many channels and classes, with its `preprocess`.

    Args:
        load_weights: for a network that takes this argument.

    Raises:
        UserError: if it cannot be constructed, or is no network.
    """
    try:
        network = instantiate(cfg.model, "model", channels=channels, classes=classes, load_weights=load_weights)
    except WeightsMismatchError as error:
        (problem,) = error.problems
        remedy = suggest_overrides(cfg.model.weights, cfg.model, channels) or problem.remedy
        raise WeightsMismatchError(error.stage, [replace(problem, remedy=remedy)]) from error
    if not isinstance(network, nn.Module):
        rule = f"gives a {type(network).__name__}, not a torch.nn.Module"
        remedy = "Name a class that is a subclass of torch.nn.Module."
        raise UserError(STAGE, [Problem("model._target_", rule, str(cfg.model._target_), remedy)])
    get_preprocess(network)
    return network


def rebuild_network(cfg: DictConfig, channels: int, classes: int) -> nn.Module:
    """The network of an earlier run, to be filled from its checkpoint: without pre-trained weights if it may be.

    Raises:
        UserError: as build_network.
    """
    if accepts_argument(cfg.model, "load_weights"):
        return build_network(cfg, channels, classes, load_weights=False)
    model: Any = OmegaConf.to_container(cfg.model, resolve=True)
    bare = {**model, "weights": None}
    needed = "weights" not in model or validate_node(
        "model", bare, GIVEN["model"], lambda target, _: import_target(target)
    )
    return build_network(DictConfig({"model": model if needed else bare}), channels, classes)


def build_classifier(cfg: DictConfig, network: nn.Module, counts: list[int]) -> Classifier:
    """The network with its loss and, for training, its optimizer, schedule and phases.

    Raises:
        UserError: if the loss cannot be constructed, the phases name parts that the network has not, or a phase's
            learning rate does not suit the schedule.
    """
    phases = None
    if entries := read_phases(cfg):
        phases = Phases(entries, network, cfg.trainer.max_epochs, cfg.optimizer.get("lr"))
        for rate in phases.highest_rates() if cfg.scheduler else ():
            _try_at(cfg, "scheduler", rate)

    def make_schedule(optimizer: torch.optim.Optimizer, total_steps: int) -> Any:
        return instantiate(cfg.scheduler, "scheduler", optimizer=optimizer, total_steps=total_steps)

    return Classifier(
        network,
        instantiate(cfg.loss, "loss", counts=counts),
        make_optimizer=lambda parameters: instantiate(cfg.optimizer, "optimizer", params=list(parameters)),
        make_schedule=make_schedule if cfg.scheduler else None,
        seed=cfg.seed,
        # What comes with us draws from torch alone, and Python and NumPy take 0.05 ms of each step to seed.
        seed_step=seed_everything if untrusted_packages(to_settings(cfg)) else seed_torch,
        phases=phases,
    )


def get_cache_blocker(cfg: DictConfig) -> str:
    """Return the setting that makes cached features useless, or ''."""
    augment = cfg.augment._target_ if cfg.augment else None
    return feature_cache_blocker(augment, cfg.trainer.get("limit_batches"))
