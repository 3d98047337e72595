"""What a trial has found on this machine, kept in choices.json in the cache folder, which may be removed."""

import contextlib
import hashlib
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from torch import nn

from viewfinder.data.preprocess import get_preprocess
from viewfinder.runs.atomic import read_json, write_json
from viewfinder.runs.cache_dir import cache_folder

PATIENCE = 60.0
"""Seconds to wait for another run's trial."""


def kept_trial(
    what: str, network: nn.Module, batch: tuple[int, ...], device: torch.device, trial: Callable[[], Any]
) -> Any:
    """What the cache has from an earlier trial of this network, else what one finds now.

    Of runs that begin at once one tries, and the others wait for it: they would disturb each other, and choose apart.
    """
    file, key = choices_file(), _key(what, network, batch, device)
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError, Timeout):
            file.parent.mkdir(parents=True, exist_ok=True)
            stack.enter_context(FileLock(file.with_suffix(".lock"), timeout=PATIENCE))
        known = _read(file)
        if key not in known:
            known[key] = trial()
            with contextlib.suppress(OSError):  # a home that cannot be written: the next run tries again
                write_json(file, _read(file) | {key: known[key]})
        return known[key]


def choices_file() -> Path:
    return cache_folder() / "choices.json"


def _read(file: Path) -> dict[str, Any]:
    try:
        known = read_json(file)
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def _key(what: str, network: nn.Module, batch: tuple[int, ...], device: torch.device) -> str:
    chip = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{_processor()} {torch.get_num_threads()}"
    trained = sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)
    facts = (what, repr(network), trained, batch, get_preprocess(network).image_size, chip, torch.__version__)
    return hashlib.blake2b(repr(facts).encode(), digest_size=16).hexdigest()


def _processor() -> str:
    """Its name, and what it can do: machines behind one name differ in their instructions."""
    return f"{platform.processor() or platform.machine()} {torch.backends.cpu.get_cpu_capability()} {platform.node()}"
