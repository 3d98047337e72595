"""Undocumented parts of torch's DataLoader, checked with torch 2.6 to 2.14."""

from typing import Any

from torch.utils.data import DataLoader
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter


def shutdown_workers(loader: DataLoader[Any]) -> None:
    """Stop a loader's persistent worker processes, and forget that any of them has died."""
    iterator: Any = loader._iterator
    loader._iterator = None
    if isinstance(iterator, _MultiProcessingDataLoaderIter):
        iterator._shutdown = False  # a shutdown that a signal's handler has interrupted is done again
        iterator._shutdown_workers()
