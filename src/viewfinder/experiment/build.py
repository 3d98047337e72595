"""Construction of an experiment's components from its configuration."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from omegaconf import DictConfig
from pytorch_lightning.callbacks import Callback
from torch import nn

from viewfinder.config.instantiate import STAGE, accepts_argument, import_target, instantiate, validate_node
from viewfinder.config.trust import untrusted_packages
from viewfinder.config.yaml_text import to_settings
from viewfinder.data.module import ImageData
from viewfinder.data.preprocess import get_preprocess
from viewfinder.data.seeding import seed_everything, seed_torch
from viewfinder.data.shared import receive_data, share_data
from viewfinder.data.storage import fit_preprocess
from viewfinder.errors import Problem, UserError
from viewfinder.experiment.augmentations import build_augmentations, prepare_augmentations
from viewfinder.experiment.callbacks import build_callbacks
from viewfinder.experiment.check import SUPPLIED_ARGUMENTS, try_learning_rate
from viewfinder.experiment.initialize import initialize_network
from viewfinder.experiment.python_objects import PythonObjects
from viewfinder.experiment.single_images import refuse_single_images
from viewfinder.models.state_dict import WeightsMismatchError
from viewfinder.models.summary import summarise_network
from viewfinder.models.tta import set_views
from viewfinder.models.weights import suggest_overrides
from viewfinder.training.classifier import Classifier
from viewfinder.training.hardware import DEFAULT_THREADS
from viewfinder.training.parameter_groups import ParameterGroups
from viewfinder.training.phases import Phases
from viewfinder.training.precision import set_tf32
from viewfinder.training.runtime import keep_freed_memory, skip_gpu_checks

NO_OBJECTS = PythonObjects()


class Components(NamedTuple):
    """Objects needed for training; they are built before anything is created on disk."""

    data: ImageData
    classifier: Classifier
    callbacks: list[Callback]
    """averaging, Lookahead and freezing"""
    data_facts: dict[str, Any]
    """contents of data.json"""
    network_facts: dict[str, Any]
    """`network` in run.json"""


def build_components(
    cfg: DictConfig,
    has_checkpoint: bool = False,
    objects: PythonObjects = NO_OBJECTS,
    class_order: Sequence[str] | None = None,
) -> Components:
    """Read the data and build the network and its classifier.

    Args:
        cfg: a valid configuration.
        has_checkpoint: whether the weights come from a checkpoint, so that pre-trained weights are not needed.
        objects: network and data to use in place of the configuration's.
        class_order: class names of an earlier run, as in `ImageData.open`.

    Raises:
        UserError: if the data cannot be read, or the network does not fit them.
    """
    options = to_settings(cfg)["trainer"]
    torch.set_num_threads(options.get("threads") or DEFAULT_THREADS)
    set_tf32(False)
    skip_gpu_checks()
    data = make_data(to_settings(cfg), objects.data)
    is_shared = receive_data(data)
    if not is_shared:
        data.open(class_order=class_order)
    channels, classes = data.in_channels, len(data.class_names)
    seed_everything(cfg.seed, "weights")
    build = rebuild_network if has_checkpoint else build_network
    network = copy.deepcopy(objects.model) if objects.model is not None else build(cfg, channels, classes)
    if is_shared:
        fit_preprocess(data.splits, get_preprocess(network), data.shared_size)
    else:
        data.load(get_preprocess(network))
    if options.get("keep_freed_memory", True):  # not before: training does not reuse the memory of decoding
        keep_freed_memory()
    data_facts = data.summarise()
    share_data(data)
    # Before phases freeze parameters.
    network_facts = summarise_network(network, channels, classes, objects.model is not None)
    if not has_checkpoint:
        initialize_network(network, data)
    classifier = build_classifier(cfg, network, data_facts["class_counts"])
    callbacks = build_callbacks(to_settings(cfg), network)
    refuse_single_images(data, classifier)
    batches = len(data.training_order().batch_numbers)
    try_optimizers(classifier, -(-batches // options.get("accumulate_grad_batches", 1)), options.get("max_epochs", 1))
    prepare_augmentations(data, network, options.get("max_epochs", 1))
    network_facts["trained"] = sum(p.numel() for p in network.parameters() if p.requires_grad)  # in any phase
    return Components(data, classifier, callbacks, data_facts, network_facts)


def open_data(
    cfg: DictConfig,
    stored: tuple[int, tuple[int, int]] | None = None,
    given: ImageData | None = None,
    class_order: Sequence[str] | None = None,
) -> ImageData:
    """List and split the images of a configuration, without reading them.

    Args:
        cfg: a valid configuration.
        stored: channels and size of an earlier run's images, as in `ImageData.open`.
        given: data module to copy in place of the configuration's.
        class_order: class names of an earlier run, as in `ImageData.open`.

    Raises:
        UserError: if the data are missing or invalid.
    """
    settings = to_settings(cfg)
    data = make_data(settings, given)
    data.open(stored, class_order)
    return data


def make_data(settings: Mapping[str, Any], given: ImageData | None = None) -> ImageData:
    """Return the data of a configuration, or a copy of the given data, not opened yet."""
    data = copy.copy(given) if given is not None else instantiate(settings["data"], "data")
    data.seed = settings["seed"]
    data.limit_batches = settings["trainer"].get("limit_batches")
    data.augment = build_augmentations(settings.get("augment"), settings["seed"])
    return data


def build_network(cfg: DictConfig, channels: int, classes: int, load_weights: bool = True) -> nn.Module:
    """Build the network, with its preprocessing.

    Args:
        cfg: a valid configuration.
        channels: channels of the images.
        classes: number of classes.
        load_weights: passed to the network, if it has such an argument; False skips its pre-trained weights.

    Raises:
        UserError: if the network cannot be constructed, or is not a module.
    """
    return _build_model(to_settings(cfg)["model"], channels, classes, load_weights)


def _build_model(model: Mapping[str, Any], channels: int, classes: int, load_weights: bool = True) -> nn.Module:
    try:
        network = instantiate(model, "model", channels=channels, classes=classes, load_weights=load_weights)
    except WeightsMismatchError as error:
        (problem,) = error.problems
        remedy = suggest_overrides(model["weights"], model, channels) or problem.remedy
        raise WeightsMismatchError(error.stage, [replace(problem, remedy=remedy)]) from error
    if not isinstance(network, nn.Module):
        rule = f"returns a {type(network).__name__}, not a torch.nn.Module"
        remedy = "Use a subclass of torch.nn.Module."
        raise UserError(STAGE, [Problem("model._target_", rule, str(model["_target_"]), remedy)])
    get_preprocess(network)  # raises UserError if it is missing
    return network


def rebuild_network(cfg: DictConfig, channels: int, classes: int) -> nn.Module:
    """Build the network of an earlier run for the weights of a checkpoint, without pre-trained weights if possible.

    Args:
        cfg: the run's configuration.
        channels: channels of the images.
        classes: number of classes.

    Raises:
        UserError: as `build_network`.
    """
    model = to_settings(cfg)["model"]
    if accepts_argument(model, "load_weights"):
        return _build_model(model, channels, classes, load_weights=False)
    untrained = {**model, "weights": None}
    supplied = SUPPLIED_ARGUMENTS["model"]
    if "weights" not in model or validate_node("model", untrained, supplied, lambda target, _: import_target(target)):
        return _build_model(model, channels, classes)
    return _build_model(untrained, channels, classes)


def build_classifier(cfg: DictConfig, network: nn.Module, class_counts: list[int]) -> Classifier:
    """Build a classifier of the network, with its loss, optimizer, schedule, phases and test-time augmentation.

    Args:
        cfg: a valid configuration.
        network: the network.
        class_counts: training images of each class.

    Raises:
        UserError: if the loss cannot be constructed, a phase names a part that the network lacks, the schedule rejects
            the learning rate of a phase, or a rule of parameter groups matches no parameter.
    """
    settings = to_settings(cfg)
    set_views(network, instantiate(settings["tta"], "tta") if settings.get("tta") else None)
    optimizer, phases = settings["optimizer"], None
    schedule: Any = settings.get("scheduler")
    if entries := settings.get("phases"):
        phases = Phases(entries, network, settings["trainer"]["max_epochs"], optimizer.get("lr"))
        for rate in phases.highest_rates() if schedule else ():
            try_learning_rate(schedule, "scheduler", rate)

    def make_schedule(optimizer: torch.optim.Optimizer, total_steps: int) -> Any:
        return instantiate(schedule, "scheduler", optimizer=optimizer, total_steps=total_steps)

    return Classifier(
        network,
        instantiate(settings["loss"], "loss", counts=class_counts),
        make_optimizer=ParameterGroups(settings.get("parameter_groups"), network, optimizer).make_optimizer,
        make_schedule=make_schedule if schedule else None,
        seed=settings["seed"],
        # Trusted packages draw from torch alone, and seeding Python and NumPy takes 0.05 ms per step.
        seed_step=seed_everything if untrusted_packages(settings) else seed_torch,
        phases=phases,
    )


def try_optimizers(classifier: Classifier, steps: int, max_epochs: int) -> None:
    """Construct the optimizer of the network's parameters, and its schedule, for each phase.

    Args:
        classifier: the classifier.
        steps: number of optimizer steps in an epoch.
        max_epochs: number of epochs without phases.

    Raises:
        UserError: if one of them rejects its arguments, the parameters or the number of steps.
    """
    phases, trials = classifier.phases, []
    if phases is None:
        trials = [([p for p in classifier.network.parameters() if p.requires_grad], max_epochs)]
    else:
        trials = [(phases.groups(first), len(phases.epochs(phases.at(first)))) for first in phases.starts]
    for parameters, epochs in trials:
        assert classifier.make_optimizer is not None
        optimizer = classifier.make_optimizer(parameters)
        if classifier.make_schedule is not None:
            classifier.make_schedule(optimizer, steps * epochs)
