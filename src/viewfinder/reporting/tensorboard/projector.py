"""Projector tab of TensorBoard: features of test images, with thumbnails and classes."""

import logging
from collections.abc import Sequence

import numpy as np
import torch
from google.protobuf import text_format
from PIL import Image
from torch import Tensor, nn
from tqdm import tqdm

from viewfinder.data.batches import SplitImages
from viewfinder.errors import printable
from viewfinder.evaluation.metrics import Predictions
from viewfinder.models.transfer import find_head
from viewfinder.models.tta import single_view
from viewfinder.reporting.charts.files import save_image
from viewfinder.reporting.charts.thumbnails import compute_side, draw_sheet, draw_thumbnail
from viewfinder.reporting.tensorboard.internals import ProjectorConfig
from viewfinder.runs.atomic import replace_file, replace_text
from viewfinder.runs.folder import RunFolder

log = logging.getLogger("viewfinder")
MAX_FEATURES = 128
"""Wider features are replaced by as many principal components, which keeps the files small."""
HEADER = ("true", "predicted", "right or wrong", "picture")


def write_projector(
    run: RunFolder,
    classifier: nn.Module,
    network: nn.Module,
    images: SplitImages,
    predictions: Predictions,
    *,
    names: np.ndarray,
    class_names: list[str],
    max_images: int,
    batch_size: int,
    device: torch.device,
    cached_features: SplitImages | None = None,
    show_progress: bool = True,
) -> None:
    """Write the input of the network's last linear layer for evenly spaced test images.

    A network without such a layer is named in the log, and no files are written.

    Args:
        run: run folder; files of an earlier process are replaced.
        classifier: model of uint8 images (N, C, H, W) or cached features (N, D), with the weights to show.
        network: network inside `classifier`.
        images: test images.
        predictions: predictions of the first test images.
        names: names of the test images.
        class_names: class names in the order of the logits.
        max_images: maximum number of images; 0 writes no files.
        batch_size: images per forward pass.
        device: device to evaluate on.
        cached_features: features of a frozen backbone for the test images.
        show_progress: draw a progress bar on a terminal.

    Raises:
        OSError: if the files cannot be written.
    """
    for path in (run.projector, run.tensors, run.metadata, run.sprite):
        path.unlink(missing_ok=True)
    count = len(predictions.labels)
    shown_count = min(max_images, count)
    if not shown_count:
        return
    positions = torch.arange(shown_count) * count // shown_count
    try:
        head = find_head(network)
        if not head:
            raise ValueError(f"{type(network).__name__} has no linear layer")
        with single_view(network):
            features, thumbnails = read_features(
                classifier.eval().to(device), network, head, images, cached_features, positions.split(batch_size),
                show_progress,
            )  # fmt: skip
        title = f"input of {head}"
        if features.shape[1] > MAX_FEATURES:
            title += f", PCA of {features.shape[1]:,}"
            features = compute_principal_components(features, MAX_FEATURES)
    except Exception as error:  # a network may fail in any way, but the run has its scores
        log.info(f"projector not written: {printable(' '.join(str(error).split())[:300])}")
        return
    with replace_file(run.tensors) as temporary:
        np.savetxt(temporary, features.numpy(), "%.7g", "\t")
    shown = Predictions(predictions.logits[positions], predictions.labels[positions])
    replace_text(run.metadata, format_metadata(names[positions.numpy()], shown, class_names))
    save_image(draw_sheet(thumbnails), run.sprite)
    side = thumbnails[0].width
    config = ProjectorConfig()
    config.embeddings.add(
        tensor_name=title,
        tensor_path=run.tensors.name,
        metadata_path=run.metadata.name,
        sprite={"image_path": run.sprite.name, "single_image_dim": [side, side]},
    )
    # Last, so that the files it names exist.
    replace_text(run.projector, text_format.MessageToString(config))


@torch.inference_mode()
def read_features(
    classifier: nn.Module,
    network: nn.Module,
    head: str,
    images: SplitImages,
    cached_features: SplitImages | None,
    chunks: Sequence[Tensor],
    show_progress: bool,
) -> tuple[Tensor, list[Image.Image]]:
    """Return features, (n, D) float32 on the CPU, and square thumbnails of the images at some positions.

    Args:
        classifier: model of uint8 images or cached features, in evaluation mode.
        network: network inside `classifier`.
        head: name of the linear layer in `network` whose input is returned.
        images: test images.
        cached_features: features of a frozen backbone for `images`.
        chunks: positions, one tensor (b,) for each forward pass.
        show_progress: draw a progress bar on a terminal.

    Raises:
        ValueError: if the layer is not used, or has no finite vector for each image.
    """
    device, count = next(network.parameters()).device, sum(map(len, chunks))
    side = compute_side(images.shape, count)
    features: list[Tensor] = []
    thumbnails: list[Image.Image] = []
    captured: list[Tensor] = []
    hook = network.get_submodule(head).register_forward_pre_hook(lambda _, inputs: captured.append(inputs[0]))
    bar = tqdm(
        desc="projector", total=count, leave=False, disable=None if show_progress else True, unit=" images", delay=1
    )
    try:
        for positions in chunks:
            pixels, _ = images.gather(positions)
            thumbnails += [draw_thumbnail(image, side) for image in pixels]
            if cached_features is not None:
                pixels, _ = cached_features.gather(positions.to(cached_features.device))
            captured.clear()
            classifier(pixels.to(device))
            if not captured:
                raise ValueError(f"the last linear layer, {head}, is not used")
            if captured[-1].shape[:-1] != positions.shape:
                shape = tuple(captured[-1].shape)
                raise ValueError(f"the last linear layer, {head}, receives {shape} for {len(positions)} images")
            features.append(captured[-1].float().cpu())
            bar.update(len(positions))
    finally:
        bar.close()
        hook.remove()
    joined = torch.cat(features)
    if not joined.isfinite().all():
        raise ValueError(f"the input of the last linear layer, {head}, is not finite")
    return joined, thumbnails


def compute_principal_components(features: Tensor, max_components: int) -> Tensor:
    """Project features, (n, D), onto at most `max_components` principal components, sorted by singular value."""
    left, values, _ = torch.linalg.svd(features - features.mean(0), full_matrices=False)
    return (left * values)[:, :max_components]


def format_metadata(names: Sequence[str] | np.ndarray, predictions: Predictions, class_names: list[str]) -> str:
    """Return a tab-separated table with a HEADER and one line per image; control characters are escaped."""
    classes = [printable(name) for name in class_names]
    lines = ["\t".join(HEADER)]
    predicted = predictions.logits.argmax(1).tolist()
    for name, label, prediction in zip(names, predictions.labels.tolist(), predicted, strict=True):
        verdict = "right" if prediction == label else "wrong"
        lines.append("\t".join((classes[label], classes[prediction], verdict, printable(name))))
    return "\n".join(lines) + "\n"
