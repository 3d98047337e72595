"""Random numbers as a function of (seed, purpose, epoch, batch), never of how many were drawn before."""

import hashlib
import random

import numpy as np
import torch


def derive(seed: int, *purpose: str | int) -> int:
    """A 63-bit seed for one purpose; neighbouring seeds and purposes give unrelated ones."""
    digest = hashlib.blake2b(repr((seed, *purpose)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def generator(seed: int, *purpose: str | int, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator of its own for one purpose, on a device."""
    return torch.Generator(device).manual_seed(derive(seed, *purpose))


def seed_everything(seed: int, *purpose: str | int) -> None:
    """Seed Python, NumPy and torch for one purpose."""
    value = derive(seed, *purpose)
    random.seed(value)
    np.random.seed(value % 2**32)
    seed_torch(seed, *purpose)


def seed_torch(seed: int, *purpose: str | int) -> None:
    """Seed torch (CPU, and every GPU that is in use) for one purpose; its numbers are as after seed_everything."""
    value = derive(seed, *purpose)
    # torch.manual_seed takes a hundred times as long: it notes its call stack for a GPU that may yet be used.
    torch.default_generator.manual_seed(value)
    if torch.cuda.is_initialized():
        for each in torch.cuda.default_generators:
            each.manual_seed(value)
