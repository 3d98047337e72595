"""Checks that end training if a loss or a metric is NaN or infinite."""

import math
from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from viewfinder.errors import Problem, UserError, join_names
from viewfinder.training.exchange import find_highest, gather_objects

REMEDY = "Try a smaller optimizer.lr or trainer.gradient_clip_val=1. No checkpoint contains invalid values."


def check_losses(trainer: pl.Trainer, losses: Tensor, first: int = 0) -> None:
    """Check that losses of training batches, (n,), are finite; this synchronises with a GPU.

    All processes of a distributed run call this together: one that failed alone would leave the others waiting.

    Args:
        first: index of the first of these among this process's batches of the epoch.

    Raises:
        UserError: if a loss is NaN or infinite, in any process, with its step, batch and images.
    """
    is_finite = torch.isfinite(losses).all()
    problem = None if is_finite else _describe_loss(trainer, losses, first)
    if trainer.world_size > 1:
        has_failed = find_highest(int(problem is not None), losses.device)
        problem = next(filter(None, gather_objects(problem))) if has_failed else None
    if problem is not None:
        raise UserError("the training", [problem])


def _describe_loss(trainer: pl.Trainer, losses: Tensor, first: int) -> Problem:
    """Return the problem of the first loss that is not finite."""
    invalid = (~torch.isfinite(losses)).nonzero()
    index = first + int(invalid[0])
    module: Any = trainer.lightning_module
    data, epoch = trainer.datamodule, trainer.current_epoch  # type: ignore[attr-defined]
    order = data.training_order()
    order.epoch, order.resume_position = epoch, (0, 0)
    positions = [positions for indices in order for _, positions in indices.batches][index]
    names = [str(name) for name in data.splits["train"].names[positions.numpy()]]
    step = module.loop.steps_per_epoch(trainer) * epoch + index // module.loop.accumulate_grad_batches + 1
    rule = f"is {losses[index - first].item()} at step {step:,}, batch {index + 1:,} of epoch {epoch + 1}"
    images = f"Images of the batch ({len(names)}): {join_names(names[:4])}{', ...' if len(names) > 4 else '.'}"
    return Problem("train/loss", rule, remedy=f"{images}\n{REMEDY}")


def check_row(row: Mapping[str, Any]) -> None:
    """Check that an epoch's metrics are finite; NaN weights give NaN metrics.

    Raises:
        UserError: if a metric is NaN or infinite.
    """
    for name, value in row.items():
        if not math.isfinite(value):
            rule = f"is {value} after epoch {row['epoch']}"
            raise UserError("the training", [Problem(name, rule, remedy=REMEDY)])
