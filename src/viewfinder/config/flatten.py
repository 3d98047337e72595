"""A configuration as flat keys, and which of them can change a score."""

from collections.abc import Mapping, Sequence
from typing import Any

HOW = (
    "trainer.checkpoint_every", "trainer.embeddings", "trainer.progress_bar", "data.workers", "data.storage",
    "data.download",
)  # fmt: skip
"""Keys that say how a training is done, and may change when it goes on."""
NO_MATTER = ("name", "output_dir", "run_dir", "allow", "trainer.keep_freed_memory", *HOW)
"""Keys that cannot change a score."""


def flat(config: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    """'optimizer.lr' -> 0.001 and so on; lists are values."""
    found: dict[str, Any] = {}
    for key, value in config.items():
        found |= flat(value, f"{path}{key}.") if isinstance(value, dict) else {f"{path}{key}": value}
    return found


def varying(configs: Sequence[Mapping[str, Any]]) -> set[str]:
    """Flat keys in which some of these flat configurations differ."""
    keys = {key for config in configs for key in config}
    return {key for key in keys if any(config.get(key) != configs[0].get(key) for config in configs)}
