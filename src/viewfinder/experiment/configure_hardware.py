"""Configuration of the hardware: location of the data, threads, precision, CUDA graph and cached features."""

import logging
from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl
import torch
from torch import nn

from viewfinder.experiment.augmentations import find_cache_blocker
from viewfinder.experiment.build import Components
from viewfinder.models.transfer import Transferable
from viewfinder.models.tta import get_views
from viewfinder.reporting.console import log_data_summary, log_model_summary
from viewfinder.runs.checkpoints import CheckpointInfo
from viewfinder.runs.logging import log_wrapped
from viewfinder.training.features.cache import has_frozen_backbone, use_features
from viewfinder.training.hardware import HardwareSettings, choose_settings, log_settings
from viewfinder.training.phases import Phases
from viewfinder.training.scoring import load_weights
from viewfinder.training.sync_batch_norm import describe_sync
from viewfinder.training.trainer import get_training_loop

log = logging.getLogger("viewfinder")


def configure_hardware(
    settings: Mapping[str, Any], components: Components, trainer: pl.Trainer, facts: Mapping[str, Any]
) -> HardwareSettings:
    """Move the data to the trainer's device, choose threads and precision, and log data, network and choices.

    Args:
        settings: configuration as plain values.
        components: data and classifier.
        trainer: trainer to configure.
        facts: run.json of a resumed run, whose threads and precision are used again; empty for a new run.
    """
    data, classifier, device = components.data, components.classifier, trainer.strategy.root_device
    data.move_to_device(device)
    log_data_summary(data)
    log_model_summary(components.network_facts)
    if settings["model"].get("weights", "") is None and (
        reason := describe_random_freeze(classifier.network, classifier.phases)
    ):
        log.info(f"         {reason} (model.weights=null)")
    options = settings["trainer"]
    trains_head_only = has_frozen_backbone(classifier.network) and not find_cache_blocker(settings)
    hardware = choose_settings(classifier.network, classifier.loss, device, options, facts, trains_head_only)
    torch.set_num_threads(hardware.threads)
    loop = get_training_loop(trainer)
    loop.precision, loop.is_graphed = hardware.precision, hardware.is_graphed
    log_settings(hardware)
    if options.get("compile"):
        from viewfinder.training.compile import CompiledNetwork  # torch's compiler takes long to import

        classifier.compiled = CompiledNetwork(classifier.network, data.batch_size)
        log.info("         torch.compile compiles the first step, which may take a minute")
    if trainer.world_size > 1 and options.get("sync_batchnorm"):
        log_wrapped(f"         {describe_sync(classifier.network)}")
    return hardware


def describe_random_freeze(network: nn.Module, phases: Phases | None) -> str:
    """Describe how random weights of a network's backbone are frozen; '' if they are trained from the beginning."""
    if not isinstance(network, Transferable):
        return ""
    if network.is_backbone_frozen:
        return "backbone frozen with random weights"
    if phases is not None and phases.is_backbone_unchanged(0):
        return f"random weights, frozen in phase {phases.at(0)}"
    return ""


def use_cached_features(
    settings: Mapping[str, Any], components: Components, device: torch.device, checkpoint: CheckpointInfo | None
) -> dict[str, Any] | None:
    """Train the head on cached features of the images while the backbone does not change.

    Args:
        settings: configuration as plain values.
        components: data and classifier.
        device: device that computes the features.
        checkpoint: checkpoint of a resumed run; None for a new run.

    Returns:
        `features` in run.json, as `use_features` returns it.
    """
    network, phases = components.classifier.network, components.classifier.phases
    fingerprints = dict(components.data_facts["fingerprint"])
    if get_views(network) is not None:  # of several views there are no features
        fingerprints = {"train": fingerprints["train"]}
    elif not has_frozen_backbone(network):  # a later phase trains the backbone, so the test images pass through it
        del fingerprints["test"]
    if phases is not None:
        epochs = checkpoint.epochs if checkpoint else 0
        phases.enter(epochs)  # DistributedDataParallel averages the gradients of the parameters trainable now
        if not phases.is_backbone_unchanged(epochs):
            return None
    if checkpoint and has_frozen_backbone(network):  # the checkpoint's weights make the features
        load_weights(components.classifier, checkpoint.path)
    blocker, show_progress = find_cache_blocker(settings), settings["trainer"].get("progress_bar", True)
    return use_features(components.data, network, device, fingerprints, blocker, show_progress)
