"""TensorBoard's projector tab: what the last layer is given for test pictures, with their thumbnails and classes."""

import logging
from collections.abc import Sequence

import numpy as np
import torch
from google.protobuf import text_format
from omegaconf import DictConfig
from PIL import Image
from tensorboard.plugins.projector.projector_config_pb2 import ProjectorConfig  # type: ignore[attr-defined]
from torch import Tensor
from tqdm import tqdm

from viewfinder.data.module import EVALUATION_BATCH, ImageData
from viewfinder.errors import printable
from viewfinder.evaluation.metrics import Predictions
from viewfinder.models.transfer import find_head
from viewfinder.reporting.charts.thumbnails import draw_sheet, side_of, thumbnail
from viewfinder.reporting.pages.run import save_picture
from viewfinder.runs.atomic import replace_text, replacing
from viewfinder.runs.folder import RunFolder
from viewfinder.training.classifier import Classifier
from viewfinder.training.trainer import EMBEDDINGS

log = logging.getLogger("viewfinder")
COLUMNS = 128
"""Of more features than that, so many principal components are written in their place."""
HEADER = ("true", "predicted", "right or wrong", "picture")


def write_projector(
    run: RunFolder, cfg: DictConfig, data: ImageData, classifier: Classifier, device: torch.device
) -> None:
    """The features of `trainer.embeddings` test pictures, evenly spaced over those that have predictions.

    Features are the input of the network's last linear layer, or their first COLUMNS principal components where they
    are more than that, which keeps the files small. A network that has none is named in the log. Other processes have
    no part in it.

    Args:
        classifier: with the weights, and the predictions of the test split, that are to be shown.
        device: to evaluate on.

    Raises:
        OSError: if the files cannot be written.
    """
    for path in (run.projector, run.tensors, run.metadata, run.sprite):  # of a run that goes on
        path.unlink(missing_ok=True)
    predictions, names = classifier.predictions["test"], data.splits["test"].names
    count = len(predictions.labels)
    most = min(cfg.trainer.get("embeddings", EMBEDDINGS), count)
    if not most:
        return
    positions = torch.arange(most) * count // most
    try:
        classifier.eval().to(device)
        features, thumbnails = look(classifier, data, positions, cfg.trainer.get("progress_bar", True))
        said = f"input of {find_head(classifier.network)}"
        if features.shape[1] > COLUMNS:
            said += f", PCA of {features.shape[1]:,}"
            features = principal_components(features, COLUMNS)
    except Exception as error:  # whatever a person's network comes to: the run has its scores
        log.info(f"projector none, since {printable(' '.join(str(error).split())[:300])}")
        return
    with replacing(run.tensors) as beside:
        np.savetxt(beside, features.numpy(), "%.7g", "\t")
    shown = Predictions(predictions.logits[positions], predictions.labels[positions])
    replace_text(run.metadata, metadata_text(names[positions.numpy()], shown, data.class_names))
    side = thumbnails[0].width
    save_picture(draw_sheet(thumbnails), run.sprite)
    config = ProjectorConfig()
    config.embeddings.add(
        tensor_name=said,
        tensor_path=run.tensors.name,
        metadata_path=run.metadata.name,
        sprite={"image_path": run.sprite.name, "single_image_dim": [side, side]},
    )
    # Last, so that what it names is there.
    replace_text(run.projector, text_format.MessageToString(config))


@torch.inference_mode()
def look(classifier: Classifier, data: ImageData, positions: Tensor, show: bool) -> tuple[Tensor, list[Image.Image]]:
    """Features, (n, D) float32 on the CPU, of the test pictures at positions (n,), and square thumbnails of these.

    Raises:
        ValueError: if the network has no such features.
    """
    network, name = classifier.network, find_head(classifier.network)
    if not name:
        raise ValueError(f"{type(network).__name__} has no linear layer")
    pictures, kept = data.pictures["test"], data.features.get("test")
    side = side_of(pictures.shape, len(positions))
    found: list[Tensor] = []
    thumbnails: list[Image.Image] = []
    given: list[Tensor] = []
    handle = network.get_submodule(name).register_forward_pre_hook(lambda _, inputs: given.append(inputs[0]))
    off = None if show else True
    bar = tqdm(desc="projector", total=len(positions), leave=False, disable=off, unit=" pictures", delay=1)
    try:
        for part in positions.split(EVALUATION_BATCH * data.batch_size):
            pixels, _ = pictures.at(part)
            thumbnails += [thumbnail(picture, side) for picture in pixels]
            # Of a frozen backbone the features are there.
            batch = pixels if kept is None else kept.at(part.to(kept.device))[0]
            given.clear()
            classifier(batch.to(classifier.device))
            if not given:
                raise ValueError(f"the last linear layer, {name}, is not used")
            if given[-1].shape[:-1] != part.shape:
                shape = tuple(given[-1].shape)
                raise ValueError(f"the last linear layer, {name}, is given {shape} for {len(part)} pictures")
            found.append(given[-1].float().cpu())
            bar.update(len(part))
    finally:
        bar.close()
        handle.remove()
    features = torch.cat(found)
    if not features.isfinite().all():
        raise ValueError(f"the input of the last linear layer, {name}, is not finite")
    return features, thumbnails


def principal_components(features: Tensor, most: int) -> Tensor:
    """The first `most` of features (n, D), or all there are: (n, at most `most`), by singular values."""
    left, values, _ = torch.linalg.svd(features - features.mean(0), full_matrices=False)
    return (left * values)[:, :most]


def metadata_text(names: Sequence[str] | np.ndarray, predictions: Predictions, class_names: list[str]) -> str:
    """A line a picture under a HEADER, separated by tabs; there is no quoting, so tabs and the like are spelt out."""
    classes = [printable(name) for name in class_names]
    lines = ["\t".join(HEADER)]
    predicted = predictions.logits.argmax(1).tolist()
    for picture, label, guess in zip(names, predictions.labels.tolist(), predicted, strict=True):
        verdict = "right" if guess == label else "wrong"
        lines.append("\t".join((classes[label], classes[guess], verdict, printable(picture))))
    return "\n".join(lines) + "\n"
