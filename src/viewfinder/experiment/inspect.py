"""Inspection of a network: of a configuration without data, or of a run with its images."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig
from torch import nn

from viewfinder.config.loggers import has_tensorboard
from viewfinder.config.yaml_text import to_settings
from viewfinder.data.preprocess import get_preprocess
from viewfinder.data.seeding import seed_everything
from viewfinder.errors import UserError
from viewfinder.experiment.build import build_network, open_data, rebuild_network
from viewfinder.experiment.check import check_config
from viewfinder.experiment.inspect_images import iterate_batches, read_mistakes, read_samples, show_samples
from viewfinder.experiment.load import OpenedRun
from viewfinder.models.feature_maps import find_kernels
from viewfinder.models.layers import list_layers
from viewfinder.models.silent_units import SilentUnits, find_silent_units
from viewfinder.models.summary import summarise_network
from viewfinder.reporting.charts.layer_images import MAX_KERNELS, draw_kernels
from viewfinder.reporting.inspection import Inspection, Sheet
from viewfinder.reporting.pages.inspect import name_images, write_inspection
from viewfinder.runs.atomic import make_write_error
from viewfinder.runs.folder import RunFolder
from viewfinder.runs.lock import refuse_links
from viewfinder.runs.naming import make_configured_folder
from viewfinder.runs.provenance import read_command

CHANNELS, CLASSES = 3, 10
"""Shape of CIFAR-10, for a network without data."""
FOLDER = "inspect"
"""Folder of an inspection in its run folder, and end of the name of any other one."""


def inspect_model(cfg: DictConfig, classes: int | None, load_weights: bool) -> tuple[Inspection, Path]:
    """Inspect the network of a configuration, and write the result to a new folder.

    Data that are downloaded are not opened: the network then has `data.channels` or 3 channels, and 10 classes.

    Args:
        cfg: resolved configuration, composed from conf/.
        classes: number of classes; None for that of the data.
        load_weights: whether the weights that `model.weights` names are loaded, and their kernels shown.

    Raises:
        UserError: if the user can fix the problem; no file is left.
    """
    check_config(cfg)
    settings = to_settings(cfg)
    channels, count = settings["data"].get("channels") or CHANNELS, classes or CLASSES
    if not settings["data"].get("download") and classes is None:
        data = open_data(cfg)
        channels, count = data.in_channels, len(data.class_names)
    seed_everything(cfg.seed, "weights")
    network = (build_network if load_weights else rebuild_network)(cfg, channels, count)
    source = f"weights of {settings['model'].get('weights')}" if load_weights else "no trained weights"
    inspection = describe_network(network, channels, count, f"{source}, {count} classes", load_weights)
    folder = make_configured_folder(settings, f"_{FOLDER}")
    try:
        write_inspection(folder, inspection)
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise make_write_error(folder, error, "run the same command again.") from error
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return inspection, folder


def inspect_run(
    opened: OpenedRun, weights: str, files: Sequence[Path], mistakes: int, max_images: int
) -> tuple[Inspection, Path]:
    """Inspect the network of a run with its weights, and write the result to the folder `inspect` in the run folder.

    Args:
        opened: the run.
        weights: "best" or "last", the weights that it has.
        files: image files to show.
        mistakes: number of the worst mistakes to show.
        max_images: test images on which units are tried; 0 leaves them out, and without mistakes also the data.

    Raises:
        UserError: if an image file is unreadable, or the folder cannot be written.
    """
    channels, count = opened.stored[0], len(opened.class_names)
    network, device = opened.classifier.network, opened.trainer.strategy.root_device
    samples = read_samples(opened, files)
    source = f"{weights} weights of {opened.folder.path}"
    inspection = describe_network(network, channels, count, source, has_weights=True)
    network.eval().requires_grad_(False).to(device)
    silent: list[SilentUnits] = []
    silent_source, left_out = "", [*inspection.left_out]
    if mistakes or max_images:
        try:
            data = opened.list_data("test")
            data.load(opened.classifier.preprocess, ("test",))
        except UserError as error:
            left_out.append(f"test images: {error.reason}")
        else:
            samples += read_mistakes(opened, data, mistakes, left_out)
            if max_images:
                total = len(data.images["test"])
                shown = min(max_images, total)
                silent = find_silent_units(network, iterate_batches(data, shown, opened.classifier.preprocess, device))
                silent_source = f"{shown:,} of {total:,} test images" if shown < total else f"{total:,} test images"
    examples = show_samples(network, samples, opened.class_names, device, left_out)
    inspection = inspection._replace(
        examples=examples, silent=silent, silent_source=silent_source, left_out=left_out
    )  # fmt: skip
    return inspection, _write_to_run(opened, weights, inspection)


def describe_network(network: nn.Module, channels: int, classes: int, source: str, has_weights: bool) -> Inspection:
    """Inspect a network without any images.

    Args:
        network: on the CPU.
        channels, classes: of its images.
        source: the run, or that it has none.
        has_weights: whether its kernels are worth showing.

    Raises:
        UserError: if the network fails on an image.
    """
    facts, side = summarise_network(network, channels, classes), get_preprocess(network).image_size
    layers = list_layers(network, channels)
    kernels = None
    if has_weights and (found := find_kernels(network, layers)):
        name, weights = found
        shown = f"the first {MAX_KERNELS} of {len(weights):,}" if len(weights) > MAX_KERNELS else f"{len(weights):,}"
        note = f"{shown} kernels of {weights.shape[1]} x {weights.shape[2]} x {weights.shape[3]}; medium grey is 0."
        kernels = Sheet("kernels", name, note, draw_kernels(weights))
    return Inspection(
        facts["name"], source, read_command(), (channels, side, side), layers, facts, kernels, [], [], "", []
    )


def _write_to_run(opened: OpenedRun, weights: str, inspection: Inspection) -> Path:
    """Write an inspection to its folder in the run folder, and to TensorBoard if the run has its events."""
    refuse_links(opened.folder.path)
    folder = opened.folder.path / FOLDER
    try:
        folder.mkdir(exist_ok=True)
        refuse_links(folder)
        write_inspection(folder, inspection)
        images = {f"inspect/{name}": image for name, image in name_images(inspection).items()}
        if has_tensorboard(opened.settings) and images:
            from viewfinder.reporting.tensorboard.images import replace_images

            replace_images(folder, images, find_epoch(opened.folder, weights))
    except OSError as error:
        raise make_write_error(folder, error, "run the same command again.") from error
    return folder


def find_epoch(run: RunFolder, weights: str) -> int:
    """Return the epoch of the best or last weights; until a run has scores, from its validation accuracies."""
    if run.scores.is_file():
        return run.read_scores()[weights]["epoch"]
    metrics = run.read_metrics()
    position = metrics["val/accuracy"].to_numpy().argmax() if weights == "best" else -1
    return int(metrics["epoch"].to_numpy()[position])
