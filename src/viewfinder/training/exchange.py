"""Exchange of values between the processes of a distributed run, which all call these functions together."""

from typing import Any

import torch
import torch.distributed as dist


def gather_objects(value: Any) -> list[Any]:
    """Return a value of each process, in the order of their numbers."""
    values: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(values, value)
    return values


def find_highest(value: int, device: torch.device) -> int:
    """Return the highest number of any process.

    Args:
        device: device of the exchange.
    """
    highest = torch.tensor(value, device=device)
    dist.all_reduce(highest, dist.ReduceOp.MAX)
    return int(highest)
