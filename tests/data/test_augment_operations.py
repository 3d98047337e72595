"""RandAugment and TrivialAugment do to each image what torchvision's do to a single one."""

from typing import Any

import numpy as np
import pytest
import torch
from image_files import noise
from torchvision.transforms import v2

from viewfinder.data.augmentations import rand_augment
from viewfinder.data.augmentations.operations import apply_operations, list_magnitudes
from viewfinder.data.augmentations.rand_augment import RandAugment, TrivialAugmentWide
from viewfinder.data.seeding import make_generator

NAMES = {name: "".join(part.title() for part in name.split("_")) for name in list_magnitudes(1, (1, 1), 1, 1, 1)}
"""Names of our operations -> torchvision's."""
NAMES["auto_contrast"] = "AutoContrast"
SPACES: dict[Any, Any] = {
    RandAugment(): v2.RandAugment._AUGMENTATION_SPACE,
    TrivialAugmentWide(): v2.TrivialAugmentWide._AUGMENTATION_SPACE,
}


def smooth(count: int, channels: int, height: int, width: int) -> torch.Tensor:
    """Return images of low contrast with an edge, so that operations differ from each other."""
    small = torch.from_numpy(noise(count, channels, 4, 4)).float() * 0.6 + 20
    return torch.nn.functional.interpolate(small, (height, width), mode="nearest").round().byte()


@pytest.mark.parametrize("augmentation", SPACES, ids=lambda each: type(each).__name__)
@pytest.mark.parametrize("channels", [1, 3])
def test_each_image_is_changed_as_by_torchvisions_operation_of_the_same_magnitude(
    augmentation: Any, channels: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[Any, ...]] = []

    def record(pixels: torch.Tensor, names: list[str], chosen: np.ndarray, magnitudes: np.ndarray) -> torch.Tensor:
        result = apply_operations(pixels, names, chosen, magnitudes)
        calls.append((pixels, names, chosen, magnitudes, result))
        return result

    monkeypatch.setattr(rand_augment, "apply_operations", record)
    returned = augmentation(smooth(300, channels, 20, 16), make_generator(0))
    assert returned is calls[-1][-1]
    assert len(calls) == (2 if isinstance(augmentation, RandAugment) else 1)
    space, reference = SPACES[augmentation], v2.TrivialAugmentWide()
    for images, names, chosen, magnitudes, actual in calls:
        assert [NAMES[name] for name in names] == list(space)
        assert set(chosen) == set(range(14))
        changed = []
        for image, index, magnitude in zip(images, chosen, magnitudes, strict=True):
            name = NAMES[names[index]]
            largest, signed = space[name]
            levels = largest(31, 20, 16)
            value = float(magnitude)
            if name in ("Posterize", "Solarize"):  # we count removed bits, and from the other end
                value = 8 - round(magnitude) if name == "Posterize" else 1 - magnitude
            if levels is not None:
                assert np.abs(levels.float().numpy() - (abs(value) if signed else value)).min() < 1e-4
            arguments = {"interpolation": v2.InterpolationMode.NEAREST, "fill": {}}
            changed.append(reference._apply_image_or_video_transform(image, name, value, **arguments))
        difference = (actual.float() - torch.stack(changed).float()).abs().flatten(1)
        # A pixel halfway between two may come from the other one, and levels are rounded where torchvision cuts off.
        assert (difference > 2).float().mean(1).max() <= 0.08
        assert (difference > 2).float().mean() < 0.002
        assert (difference == 0).float().mean() > 0.8


def test_every_operation_and_sign_is_equally_likely() -> None:
    rng = np.random.default_rng(0)
    counts, signs = np.zeros(14), np.zeros(14)
    for _ in range(20):
        largest = rand_augment.list_magnitudes(0.3, (5, 5), 30, 0.9, 4)
        chosen = rng.integers(len(largest), size=500)
        magnitudes = rand_augment.draw_magnitudes(largest, chosen, 9, rng)
        counts += np.bincount(chosen, minlength=14)
        signs += np.bincount(chosen[magnitudes < 0], minlength=14)
    signed = [name for name, negative in zip(largest, signs, strict=True) if negative]
    assert [NAMES[name] for name in signed] == [n for n, (_, s) in v2.RandAugment._AUGMENTATION_SPACE.items() if s]
    assert np.abs(signs[signs > 0] / counts[signs > 0] - 0.5).max() < 0.08


def test_images_keep_their_places() -> None:
    images = torch.arange(200, dtype=torch.uint8)[:, None, None, None].expand(200, 3, 4, 4).contiguous()
    chosen = np.random.default_rng(1).integers(3, size=200)
    actual = apply_operations(images, ["identity", "posterize", "solarize"], chosen, np.where(chosen == 1, 4.0, 1.0))
    level = np.arange(200)
    expected = np.select([chosen == 0, chosen == 1], [level, level & 0xF0], 255 - level)
    assert actual[:, 2, 3, 1].tolist() == expected.tolist()
