"""Content of data.json."""

from typing import TYPE_CHECKING, Any

import numpy as np

from viewfinder.data.absent import find_absent_classes
from viewfinder.data.groups import count_groups

if TYPE_CHECKING:
    from viewfinder.data.module import ImageData


def summarise_data(data: "ImageData") -> dict[str, Any]:
    """Return the content of data.json for loaded data; a key that does not apply is left out."""
    optional: dict[str, Any] = {
        "cross_validation": data.cross_validation,
        "group_counts": count_groups(data.splits),
        "cropped": data.stored.cropped,
        "absent_classes": find_absent_classes(data.splits, data.class_names),
        "warnings": data.describe_warnings(),
    }
    return {
        "class_names": data.class_names,
        "channels": data.image_shape[0],
        "picture_size": [*data.image_shape[1:]],
        "class_counts": np.bincount(data.splits["train"].labels, minlength=len(data.class_names)).tolist(),
        "split_sizes": {name: len(split) for name, split in data.splits.items()},
        "drawn": data.drawn,
        "skipped": [image._asdict() for image in data.skipped],
        "storage": data.stored.storage,
        **{key: value for key, value in optional.items() if value},
        "fingerprint": data.fingerprints(),
    }
