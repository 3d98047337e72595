"""Random generators as a function of seed, purpose, epoch and batch."""

import hashlib
import random

import numpy as np
import torch


def derive_seed(seed: int, *purpose: str | int) -> int:
    """Return a 63-bit seed for a purpose; neighbouring seeds and purposes give unrelated values."""
    digest = hashlib.blake2b(repr((seed, *purpose)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def make_generator(seed: int, *purpose: str | int, device: torch.device | str = "cpu") -> torch.Generator:
    """Return a new generator for a purpose, on a device."""
    return torch.Generator(device).manual_seed(derive_seed(seed, *purpose))


derive, generator = derive_seed, make_generator  # names in earlier versions, imported by users' modules


def seed_everything(seed: int, *purpose: str | int) -> None:
    """Seed Python, NumPy and torch for a purpose."""
    value = derive_seed(seed, *purpose)
    random.seed(value)
    np.random.seed(value % 2**32)
    seed_torch(seed, *purpose)


def seed_torch(seed: int, *purpose: str | int) -> None:
    """Seed torch on the CPU and every GPU in use, as `seed_everything` does."""
    value = derive_seed(seed, *purpose)
    # torch.manual_seed is a hundred times slower, because it records its call stack for a GPU used later.
    torch.default_generator.manual_seed(value)
    if torch.cuda.is_initialized():
        for gpu_generator in torch.cuda.default_generators:
            gpu_generator.manual_seed(value)
