"""A loss that is no number ends training: which step, which batch, which pictures."""

import math
from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from viewfinder.errors import Problem, UserError, join_names

REMEDY = "Try a smaller optimizer.lr or trainer.gradient_clip_val=1. The last checkpoint is from before this."


def check_losses(trainer: pl.Trainer, losses: Tensor, first: int = 0) -> None:
    """See that the losses of training batches, (n,), are numbers; waits for a GPU.

    Args:
        first: batches of the epoch that this process had before these.

    Raises:
        UserError: if one is infinite or no number.
    """
    wrong = (~torch.isfinite(losses)).nonzero()
    if not len(wrong):
        return
    index = first + int(wrong[0])
    module: Any = trainer.lightning_module
    data, epoch = trainer.datamodule, trainer.current_epoch  # type: ignore[attr-defined]
    order = data.training_order()
    order.epoch, order.resume_position = epoch, (0, 0)
    positions = [each for part in order for _, each in part.batches][index]
    names = [str(name) for name in data.splits["train"].names[positions.numpy()]]
    step = module.loop.steps_an_epoch(trainer) * epoch + index // module.loop.accumulate_grad_batches + 1
    rule = f"is {losses[index - first].item()} at step {step:,}, batch {index + 1:,} of epoch {epoch + 1}"
    pictures = f"Its {len(names)} pictures: {join_names(names[:4])}{', ...' * (len(names) > 4)}."
    raise UserError("the training", [Problem("train/loss", rule, remedy=f"{pictures}\n{REMEDY}")])


def check_row(row: Mapping[str, Any]) -> None:
    """See that an epoch's metrics are numbers, as weights that are none make them.

    Raises:
        UserError: if one is not.
    """
    for name, value in row.items():
        if not math.isfinite(value):
            rule = f"is {value} after epoch {row['epoch']}"
            raise UserError("the training", [Problem(name, rule, remedy=REMEDY)])
