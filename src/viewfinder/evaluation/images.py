"""Images of compared runs, told apart by the fingerprints in data.json."""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from viewfinder.errors import join_names
from viewfinder.evaluation.settings import is_setting

IMAGES = "data.images"
"""Key under which the images of a run are named."""


def name_images(
    configs: Sequence[dict[str, Any]], data_of_runs: Sequence[Mapping[str, Any]]
) -> tuple[list[dict[str, Any]], list[str]]:
    """Return flat configurations with a name for their images where equal settings of the data had different images.

    Args:
        configs: flat configurations.
        data_of_runs: content of each run's data.json; empty if it is unknown.

    Returns:
        The configurations, with the key `data.images` where it is needed, and a note if there are such runs.
    """
    fingerprints = [json.dumps(data.get("fingerprint"), sort_keys=True) for data in data_of_runs]
    groups = [_describe_reading(config, data) for config, data in zip(configs, data_of_runs, strict=True)]
    known = {(group, mark) for group, mark, data in zip(groups, fingerprints, data_of_runs, strict=True) if data}
    variants = Counter(group for group, _ in known)
    named = [
        {**config, IMAGES: hashlib.blake2b(mark.encode(), digest_size=4).hexdigest()} if variants[group] > 1 else config
        for config, group, mark in zip(configs, groups, fingerprints, strict=True)
    ]
    counts = Counter(config[IMAGES] for config in named if IMAGES in config)
    if not counts:
        return named, []
    parts = join_names(f"{count} on images={name}" for name, count in counts.most_common())
    return named, [
        f"Trained on images with different pixels, with equal settings of the data ({parts}), so not averaged."
    ]


def _describe_reading(config: Mapping[str, Any], data: Mapping[str, Any]) -> str:
    """Return everything besides the images that their fingerprint depends on."""
    settings = {
        key: value for key, value in config.items() if key.startswith("data.") and is_setting(key) and value is not None
    }
    if "data.folds" in settings:
        settings["data.fold"] = config.get("data.fold")  # each fold has images of its own
    facts = [data.get(key) for key in ("channels", "picture_size", "cropped")]
    return json.dumps([settings, facts, data.get("storage") == "stream"], sort_keys=True, default=str)
