"""TensorBoard events of a run: curves, custom charts, images, the network's graph and the HPARAMS tab."""

import os
import warnings
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.tensorboard import SummaryWriter

from viewfinder.data.batches import SplitImages
from viewfinder.data.preprocess import get_preprocess
from viewfinder.evaluation.metrics import Predictions, count_confusion
from viewfinder.evaluation.tally import SAMPLES, Evaluated
from viewfinder.reporting.charts.confusion import ConfusionFrames
from viewfinder.reporting.charts.images import draw_images
from viewfinder.reporting.tensorboard.events import PREFIX, truncate_events
from viewfinder.reporting.tensorboard.hparams import summarise_session_end, summarise_session_start
from viewfinder.reporting.tensorboard.images import summarise_image, summarise_png
from viewfinder.reporting.tensorboard.internals import convert_graph
from viewfinder.runs.folder import RunFolder
from viewfinder.runs.logging import log_wrapped

CHARTS = {
    "Curves": {
        "loss": ["Multiline", ["train/loss", "val/loss"]],
        "accuracy": ["Multiline", ["train/accuracy", "val/accuracy"]],
        "macro averages": ["Multiline", ["val/f1", "val/precision", "val/recall"]],
    }
}
FINAL_SCORES = tuple(f"best/{split}_{name}" for split in ("test", "val") for name in ("accuracy", "loss", "f1"))
"""Tags of the best weights' scores: the first columns of the HPARAMS tab, which sorts them by name."""
FINAL_CONFUSION = "test/confusion"
GRAPHS: dict[tuple[type, str, torch.Size], Any] = {}
"""Graphs by class, layers and input shape of the network; the tracer never releases the memory of a trace."""


class TensorBoard:
    """Events file of a run, open during training.

    Args:
        folder: run folder of the events file.
        config: resolved configuration as plain values, shown in the HPARAMS tab.
        class_names: class names for captions and axes.
        pixels: first validation images, (n, C, H, W) uint8.
        epochs: epochs trained by an earlier process; None for a new run.
    """

    def __init__(
        self,
        folder: RunFolder,
        config: Mapping[str, Any],
        class_names: list[str],
        pixels: Tensor,
        epochs: int | None = None,
    ):
        self.folder, self.class_names, self.pixels = folder, class_names, pixels
        self.frames = ConfusionFrames(class_names, "validation")
        # An open page drops the later epochs of a resumed run.
        self.writer = SummaryWriter(str(folder.path), purge_step=None if epochs is None else epochs + 1)
        self.events: Any = self.writer.file_writer
        if epochs is None:
            self.writer.add_custom_scalars(CHARTS)
            self.events.add_summary(summarise_session_start(config))

    def write_graph(self, network: nn.Module, images: Tensor) -> None:
        """Trace the network and write its graph, or log why it cannot be traced.

        Equal networks are traced once per process.

        Args:
            network: network to trace, in evaluation mode.
            images: float images, (n, C, H, W).
        """
        key = (type(network), repr(network), images.shape)
        if key not in GRAPHS:
            training = network.training
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # the tracer is deprecated, but TensorBoard supports no other
                try:
                    # SummaryWriter.add_graph would trace a second time to check for randomness.
                    GRAPHS[key] = convert_graph(torch.jit.trace(network.eval(), images, check_trace=False), images)
                except Exception as error:  # a network may do anything that the tracer does not support
                    reason = str(error).strip().partition("\n")[0] or type(error).__name__
                    log_wrapped(f"graph    not written to TensorBoard: the network cannot be traced: {reason}")
                    return
                finally:
                    network.train(training)
        self.events.add_graph(GRAPHS[key])

    def write_epoch(self, row: Mapping[str, Any], predictions: Evaluated) -> None:
        """Write one epoch: its row of metrics.csv, the first validation images and the confusion matrix."""
        for name, value in row.items():
            if name != "epoch":
                self.writer.add_scalar(name, value, row["epoch"])
        count = len(self.pixels)
        sample = Predictions(predictions.logits[:count], predictions.labels[:count])
        images = {
            "val/pictures": draw_images(self.pixels, sample, self.class_names),
            "val/confusion": self.frames.draw(count_confusion(predictions).numpy()),
        }
        for tag, image in images.items():
            self.events.add_summary(summarise_image(tag, image), row["epoch"])
        self.writer.flush()
        for path in self.folder.path.glob(f"{PREFIX}*"):
            with path.open("rb+") as file:
                os.fsync(file.fileno())

    def write_phase(self, description: str, epoch: int) -> None:
        """Write the start of a training phase to the Text tab.

        Args:
            description: name and settings of the phase.
            epoch: first epoch of the phase, from 1.
        """
        self.writer.add_text("phases", description, epoch)

    def write_scores(self, best: Mapping[str, Any]) -> None:
        """Write the scores of the best weights, as in scores.json, and confusion.png, of the test split."""
        for split in ("test", "val"):
            for name in ("accuracy", "loss", "f1"):
                self.writer.add_scalar(f"best/{split}_{name}", best[split][name], best["epoch"])
        with Image.open(self.folder.confusion) as image:
            summary = summarise_png(FINAL_CONFUSION, image, self.folder.confusion.read_bytes())
        self.events.add_summary(summary, best["epoch"])

    def __enter__(self) -> "TensorBoard":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        """End the session in the HPARAMS tab with success or failure, and close the events file."""
        try:
            self.events.add_summary(summarise_session_end(is_success=error is None))
            self.writer.close()
        except OSError:
            if error is None:
                raise
            # Otherwise `error`, such as a full disk, is the cause.


def start_tensorboard(
    run: RunFolder,
    network: nn.Module,
    images: SplitImages,
    class_names: list[str],
    config: Mapping[str, Any],
    epochs: int = 0,
) -> AbstractContextManager[TensorBoard | None]:
    """Open a run's events file and write the network's graph; in a helper process, return a context that yields None.

    Args:
        run: run folder of the events file.
        network: network to trace, on the CPU.
        images: validation images; the first are shown after each epoch.
        class_names: class names for captions and axes.
        config: resolved configuration as plain values, shown in the HPARAMS tab.
        epochs: epochs trained by an earlier process.
    """
    if not run.is_writer:
        return nullcontext()
    is_resumed = truncate_events(run.path, epochs, frozenset({*FINAL_SCORES, FINAL_CONFUSION}))
    pixels, _ = images.gather(torch.arange(min(SAMPLES, len(images))))
    board = TensorBoard(run, config, class_names, pixels, epochs if is_resumed else None)
    if not is_resumed:
        side = get_preprocess(network).image_size
        board.write_graph(network, torch.zeros(1, pixels.shape[1], side, side))
    return board
