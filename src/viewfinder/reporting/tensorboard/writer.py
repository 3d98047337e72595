"""What TensorBoard shows of a run: curves, custom charts, pictures, the graph, and the HPARAMS tab."""

import io
import os
import time
import warnings
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from PIL import Image
from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata  # type: ignore[attr-defined]
from tensorboard.plugins.hparams.api_pb2 import Status  # type: ignore[attr-defined]
from tensorboard.plugins.hparams.metadata import PLUGIN_NAME, SESSION_END_INFO_TAG
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionEndInfo  # type: ignore[attr-defined]
from torch import Tensor, nn
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard._pytorch_graph import graph
from torch.utils.tensorboard.summary import hparams

from viewfinder.config.flatten import NO_MATTER, flat
from viewfinder.data.module import ImageData
from viewfinder.data.preprocess import preprocess_of
from viewfinder.evaluation.metrics import Predictions, confusion
from viewfinder.reporting.charts.confusion import ConfusionFrames, draw_confusion
from viewfinder.reporting.charts.images import draw_images
from viewfinder.reporting.tensorboard.events import NAME, rewind
from viewfinder.runs.folder import RunFolder
from viewfinder.runs.logging import say_wrapped

CHARTS = {
    "Curves": {
        "loss": ["Multiline", ["train/loss", "val/loss"]],
        "accuracy": ["Multiline", ["train/accuracy", "val/accuracy"]],
        "macro averages": ["Multiline", ["val/f1", "val/precision", "val/recall"]],
    }
}
FINAL = tuple(f"best/{split}_{name}" for split in ("test", "val") for name in ("accuracy", "loss", "f1"))
"""Scores of the best weights: the HPARAMS tab's first columns, since it sorts them by name."""
FINAL_PICTURE = "test/confusion"
SAMPLES = 16
GRAPHS: dict[tuple[type, str, torch.Size], Any] = {}
"""Of networks by class, layers and input; the tracer never gives back the memory of a trace."""


class TensorBoard:
    """Writes events as training goes on; `finish` adds the scores.

    Args:
        folder: where the events file goes.
        cfg: its settings stand in the HPARAMS tab.
        class_names: for the pictures' titles.
        pixels: the first validation pictures, (n, C, H, W) uint8.
        epochs: that an earlier process has trained; None begins anew.
    """

    def __init__(
        self, folder: RunFolder, cfg: DictConfig, class_names: list[str], pixels: Tensor, epochs: int | None = None
    ):
        self.folder, self.class_names, self.pixels = folder, class_names, pixels
        self.frames = ConfusionFrames(class_names, "validation")
        # A page that is open while a run is continued forgets what it has of later epochs.
        self.writer = SummaryWriter(str(folder.path), purge_step=None if epochs is None else epochs + 1)
        self.events: Any = self.writer.file_writer
        if epochs is not None:
            return
        self.writer.add_custom_scalars(CHARTS)
        # Without the experiment's summary, of which TensorBoard would take the first run's for all: so it gathers the
        # columns from every run, those in which runs differ first.
        _, session, _ = hparams(settings(cfg), {})
        self.events.add_summary(session)

    def graph(self, network: nn.Module, pictures: Tensor) -> None:
        """The network's graph, traced with float pictures (n, C, H, W); once for equal networks in this process.

        A network that cannot be traced is said, and has none.
        """
        key = (type(network), repr(network), pictures.shape)
        if key not in GRAPHS:
            training = network.training
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # the tracer is deprecated, and TensorBoard knows no other
                try:
                    # Here, since TensorBoard would trace it again, to see that chance plays no part in it.
                    GRAPHS[key] = graph(torch.jit.trace(network.eval(), pictures, check_trace=False), pictures)
                except Exception as error:  # whatever a network does that a trace cannot hold
                    what = str(error).strip().partition("\n")[0] or type(error).__name__
                    say_wrapped(f"graph    none in TensorBoard, since the network cannot be traced: {what}")
                    return
                finally:
                    network.train(training)
        self.events.add_graph(GRAPHS[key])

    def epoch(self, row: Mapping[str, Any], predictions: Predictions) -> None:
        """An epoch's row of metrics.csv, and pictures of how validation went."""
        for name, value in row.items():
            if name != "epoch":
                self.writer.add_scalar(name, value, row["epoch"])
        count = len(self.pixels)
        sample = Predictions(predictions.logits[:count], predictions.labels[:count])
        self._picture("val/pictures", draw_images(self.pixels, sample, self.class_names), row["epoch"])
        self._picture("val/confusion", self.frames(confusion(predictions).numpy()), row["epoch"])
        self.writer.flush()
        for file in self.folder.path.glob(f"{NAME}*"):
            with file.open("rb+") as written:
                os.fsync(written.fileno())

    def phase(self, said: str, epoch: int) -> None:
        """That a phase of training begins with this epoch, in the tab Text."""
        self.writer.add_text("phases", said, epoch)

    def finish(self, best: Mapping[str, Any]) -> None:
        """The scores of the best weights, as in scores.json, and the test split's confusion matrix."""
        for split in ("test", "val"):
            for name in ("accuracy", "loss", "f1"):
                self.writer.add_scalar(f"best/{split}_{name}", best[split][name], best["epoch"])
        figure = draw_confusion(torch.tensor(best["test"]["confusion"]).numpy(), self.class_names, "test")
        self.writer.add_figure(FINAL_PICTURE, figure, best["epoch"], close=False)

    def __enter__(self) -> "TensorBoard":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        """End the session in the HPARAMS tab, as a success or a failure, and the events file."""
        status = Status.STATUS_SUCCESS if error is None else Status.STATUS_FAILURE
        content = HParamsPluginData(session_end_info=SessionEndInfo(status=status, end_time_secs=time.time()))
        try:
            self.events.add_summary(_session_summary(SESSION_END_INFO_TAG, content))
            self.writer.close()
        except OSError:
            if error is None:
                raise
            # `error` is the cause, such as a full disk.

    def _picture(self, tag: str, picture: Image.Image, epoch: int) -> None:
        # Not by add_image, which makes floats of the levels and squeezes the file as far as it goes: every epoch.
        file = io.BytesIO()
        picture.save(file, "PNG", compress_level=1)
        image = Summary.Image(
            height=picture.height, width=picture.width, colorspace=3, encoded_image_string=file.getvalue()
        )
        self.events.add_summary(Summary(value=[Summary.Value(tag=tag, image=image)]), epoch)


def start_tensorboard(
    run: RunFolder, cfg: DictConfig, data: ImageData, network: nn.Module, epochs: int = 0
) -> AbstractContextManager[TensorBoard | None]:
    """The run's events file with the network's graph, open for a while; None in a helper process.

    Args:
        epochs: that an earlier process has trained.
    """
    if not run.is_writer:
        return nullcontext()
    is_continued = rewind(run.path, epochs, frozenset({*FINAL, FINAL_PICTURE}))
    count = min(SAMPLES, len(data.pictures["val"]))
    pixels = data.pictures["val"].at(torch.arange(count))[0]
    board = TensorBoard(run, cfg, data.class_names, pixels, epochs if is_continued else None)
    if not is_continued:
        side = preprocess_of(network).image_size
        board.graph(network, torch.zeros(1, data.in_channels, side, side))
    return board


def settings(cfg: DictConfig) -> dict[str, str | float | int]:
    """The configuration as flat keys and plain values; a class stands under its group's own name.

    What cannot change a score is left out.
    """
    config: Any = OmegaConf.to_container(cfg, resolve=True)
    found: dict[str, str | float | int] = {}
    for key, value in flat(config).items():
        if key.endswith("._target_"):
            found[key.removesuffix("._target_")] = str(value).rpartition(".")[2]
        elif isinstance(value, bool):
            found[key] = str(value).lower()  # the tab shows a bool as 1.0
        elif value is not None:
            found[key] = value if isinstance(value, int | float) else str(value)
    return {key: value for key, value in found.items() if key != "trainer" and key not in NO_MATTER}


def _session_summary(tag: str, content: HParamsPluginData) -> Summary:
    data = SummaryMetadata.PluginData(plugin_name=PLUGIN_NAME, content=content.SerializeToString())
    return Summary(value=[Summary.Value(tag=tag, metadata=SummaryMetadata(plugin_data=data))])
