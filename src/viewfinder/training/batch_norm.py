"""Batch-norm statistics of given weights, computed from the training images."""

import itertools
from typing import Any

import pytorch_lightning as pl
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from viewfinder.data.module import EVALUATION_BATCH_FACTOR, ImageData


def recompute_batch_norm(trainer: pl.Trainer, pl_module: Any) -> dict[str, Tensor]:
    """Replace the running statistics of the layers that train by their mean over the batches of the training split.

    As torch.optim.swa_utils.update_bn, which would also reset the statistics of frozen layers. Each of several
    processes passes over all images, because synchronized layers need equal numbers of batches.

    Returns:
        A copy of the statistics, by their names in the network.
    """
    network, data = pl_module.network.train(), trainer.datamodule  # type: ignore[attr-defined]
    layers = {
        name: layer
        for name, layer in network.named_modules()
        if isinstance(layer, _BatchNorm) and layer.training and layer.num_batches_tracked is not None
    }
    if layers:
        _compute_means(list(layers.values()), data, pl_module)
    network.eval()
    return {
        f"{name}.{buffer}": getattr(layer, buffer).clone()
        for name, layer in layers.items()
        for buffer in ("running_mean", "running_var")
    }


def _compute_means(layers: list[_BatchNorm], data: ImageData, pl_module: Any) -> None:
    counts = [(layer.momentum, layer.num_batches_tracked.clone()) for layer in layers]  # type: ignore[union-attr]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # equal weights of all batches
    loader = data.sequential_loader("train", EVALUATION_BATCH_FACTOR * data.batch_size)
    batches = (batch for chunk in loader for batch in chunk.to(pl_module.device))
    for batch in itertools.islice(batches, data.limit_batches):
        if len(batch.labels) > 1:  # a single image has no variance
            pl_module.seed_step(pl_module.seed, "batch norm", pl_module.current_epoch, batch.number)  # for dropout
            pl_module.network(pl_module.preprocess(batch.pixels))
    for layer, (momentum, count) in zip(layers, counts, strict=True):
        layer.momentum = momentum
        layer.num_batches_tracked.copy_(count)  # type: ignore[union-attr]
