"""Derived seeds are reproducible and independent."""

import itertools
import random
from typing import Any

import numpy as np
import pytest
import torch

from viewfinder.data.seeding import derive_seed, make_generator, seed_everything


def test_a_derived_seed_is_the_same_on_every_machine_and_day() -> None:
    assert derive_seed(42, "order", 3) == 5500105927861195030


def test_neighbouring_seeds_purposes_and_epochs_give_unrelated_numbers() -> None:
    keys = list(itertools.product(range(8), ("order", "augment", "step"), range(8), range(8)))
    values = {key: derive_seed(*key) for key in keys}
    assert len(set(values.values())) == len(keys)
    assert all(0 <= value < 2**63 for value in values.values())
    for change in ((1, "", 0, 0), (0, "", 1, 0), (0, "", 0, 1)):
        pairs = [(key, tuple(a + b for a, b in zip(key, change, strict=True))) for key in keys]
        differing = [(values[a] ^ values[b]).bit_count() for a, b in pairs if b in values]
        assert np.mean(differing) == pytest.approx(31.5, abs=0.5)  # half of 63 bits
    similar: list[tuple[Any, ...]] = [(1, 23), (12, 3), (123,), (1, "23"), (1, "2", "3"), (1, 2, 3)]
    assert len({derive_seed(*key) for key in similar}) == 6


def test_generators_of_neighbouring_epochs_share_no_stretch_of_numbers() -> None:
    draws = [torch.randint(2**62, (1000,), generator=make_generator(0, "order", epoch)).tolist() for epoch in range(20)]
    assert len(set(itertools.chain.from_iterable(draws))) == 20_000
    again = torch.randint(2**62, (1000,), generator=make_generator(0, "order", 7)).tolist()
    assert again == draws[7]


def test_seeding_everything_sets_python_numpy_and_torch() -> None:
    def draw() -> list[float]:
        return [random.random(), float(np.random.rand()), torch.rand(1).item()]

    seed_everything(3, "weights")
    first = draw()
    second = draw()
    seed_everything(3, "weights")
    assert draw() == first
    seed_everything(4, "weights")
    third = draw()
    assert all(a != b and a != c for a, b, c in zip(first, second, third, strict=True))
