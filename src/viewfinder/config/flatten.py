"""Flat configurations with dotted keys, and the keys that cannot change a score."""

from collections.abc import Mapping, Sequence
from typing import Any

from viewfinder.errors import printable

EXECUTION_KEYS = (
    "trainer.checkpoint_every", "trainer.embeddings", "trainer.progress_bar", "data.workers", "data.storage",
    "data.download",
)  # fmt: skip
"""Keys that control how a training run is executed; they may change when it resumes."""
CLASS = "._target_"
NEUTRAL_KEYS = ("name", "output_dir", "run_dir", "allow", "trainer.keep_freed_memory", *EXECUTION_KEYS)
"""Keys that cannot change a score, apart from those of the group `logger`."""
ADDED_KEYS = {
    "data.fold": 0, "trainer.num_nodes": 1, "trainer.sync_batchnorm": False, "trainer.gradient_clip_algorithm": "norm",
    "scheduler.cycle_momentum": True, "trainer.compile": False,
}  # fmt: skip
"""Keys that runs of earlier versions lack, and their defaults other than null."""


def is_neutral(key: str) -> bool:
    """Return whether a dotted key cannot change a score."""
    return key in NEUTRAL_KEYS or key.partition(".")[0] == "logger"


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Map dotted keys such as 'optimizer.lr' to their values; lists are not flattened."""
    values: dict[str, Any] = {}
    for key, value in config.items():
        values |= flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return values


def flatten_settings(config: Mapping[str, Any]) -> dict[str, str | float | int]:
    """Flatten a resolved configuration to the settings that can change a score; a `_target_` stands for its group."""
    settings: dict[str, str | float | int] = {}
    for key, value in flatten(config).items():
        if key.endswith(CLASS):
            settings[key.removesuffix(CLASS)] = str(value).rpartition(".")[2]
        elif isinstance(value, bool):
            settings[key] = str(value).lower()  # TensorBoard shows a bool as 1.0
        elif value is not None:
            settings[key] = value if isinstance(value, int | float) else printable(str(value))
    return {key: value for key, value in settings.items() if key != "trainer" and not is_neutral(key)}


def find_varying_keys(configs: Sequence[Mapping[str, Any]]) -> set[str]:
    """Return the keys whose values differ among flat configurations."""
    keys = {key for config in configs for key in config}
    return {key for key in keys if any(config.get(key) != configs[0].get(key) for config in configs)}
