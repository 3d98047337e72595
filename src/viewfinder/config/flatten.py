"""Flat configurations with dotted keys, and the keys that cannot change a score."""

from collections.abc import Mapping, Sequence
from typing import Any

EXECUTION_KEYS = (
    "trainer.checkpoint_every", "trainer.embeddings", "trainer.progress_bar", "data.workers", "data.storage",
    "data.download",
)  # fmt: skip
"""Keys that control how a training run is executed; they may change when it resumes."""
NEUTRAL_KEYS = ("name", "output_dir", "run_dir", "allow", "trainer.keep_freed_memory", *EXECUTION_KEYS)
"""Keys that cannot change a score."""


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Map dotted keys such as 'optimizer.lr' to their values; lists are not flattened."""
    values: dict[str, Any] = {}
    for key, value in config.items():
        values |= flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return values


def find_varying_keys(configs: Sequence[Mapping[str, Any]]) -> set[str]:
    """Return the keys whose values differ among flat configurations."""
    keys = {key for config in configs for key in config}
    return {key for key in keys if any(config.get(key) != configs[0].get(key) for config in configs)}
