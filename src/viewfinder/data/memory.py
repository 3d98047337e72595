"""Free memory, and the share of it that data may take."""

import torch

HOST_SHARE = 0.5
"""Largest share of the free memory or disk that stored data may take."""
GPU_SHARE = 0.2
"""Largest share of a GPU's free memory that stored data may take."""


def free_gpu_memory(device: torch.device) -> int:
    """Return the free bytes of a GPU, including those that torch has reserved and does not use."""
    free, _ = torch.cuda.mem_get_info(device)
    return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)


def format_size(count: float) -> str:
    """Format a number of bytes: 1.5 GiB or 20.0 MiB."""
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.1f} MiB"
