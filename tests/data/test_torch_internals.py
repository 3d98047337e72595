"""Undocumented parts of torch's DataLoader: an upgrade that moves one fails here."""

import psutil
import torch
from torch.utils.data import DataLoader, TensorDataset

from viewfinder.data.torch_internals import shutdown_workers


def test_persistent_workers_end_and_the_loader_starts_new_ones() -> None:
    others = set(psutil.Process().children())
    loader = DataLoader(TensorDataset(torch.arange(4)), num_workers=1, persistent_workers=True)
    for _ in range(2):
        assert torch.cat([values for (values,) in loader]).tolist() == [0, 1, 2, 3]
        (worker,) = set(psutil.Process().children()) - others
        shutdown_workers(loader)
        assert not worker.is_running()


def test_a_loader_without_workers_or_that_never_ran_needs_no_shutdown() -> None:
    for workers in (0, 1):
        loader = DataLoader(TensorDataset(torch.arange(4)), num_workers=workers)
        shutdown_workers(loader)
        assert torch.cat([values for (values,) in loader]).tolist() == [0, 1, 2, 3]
        shutdown_workers(loader)
