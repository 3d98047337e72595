"""Batches contain the images at their positions."""

import numpy as np
import pytest
import torch
from image_data import Coloured, open_data
from image_files import noise

from viewfinder.data.batches import SplitImages, build_loader
from viewfinder.data.order import EpochOrder
from viewfinder.data.sources.digits import Digits
from viewfinder.data.split import ImageRows


def test_a_loaders_batches_hold_the_images_at_their_positions_and_draw_no_global_numbers() -> None:
    pixels, labels = torch.from_numpy(noise(23, 3, 4, 5)), torch.from_numpy(noise(23, seed=1, top=7)).long()
    rows = ImageRows(pixels.permute(0, 2, 3, 1).contiguous())
    state = torch.get_rng_state()
    chunks = list(build_loader(SplitImages(rows, labels), EpochOrder(23, 5, 9, chunk_size=2)))
    batches = [batch for chunk in chunks for batch in chunk]
    assert torch.equal(torch.get_rng_state(), state)
    assert [len(chunk) for chunk in chunks] == [2, 2, 1]
    assert [batch.number for batch in batches] == [0, 1, 2, 3, 4]
    assert sorted(torch.cat([batch.positions for batch in batches]).tolist()) == list(range(23))
    for batch in batches:
        places = batch.positions.numpy()
        assert np.array_equal(batch.pixels.numpy(), pixels.numpy()[places])
        assert np.array_equal(batch.labels.numpy(), labels.numpy()[places])


def test_evaluation_keeps_a_splits_own_order() -> None:
    data = open_data(Digits(batch_size=50), 8)
    for split in ("train", "val", "test"):
        batches = [batch for chunk in data.evaluation_loader(split) for batch in chunk]
        assert torch.equal(torch.cat([batch.pixels for batch in batches]), data.images[split].pixels)


def test_images_elsewhere_give_the_same_batches_without_touching_those_here() -> None:
    here = open_data(Coloured(channels=1), 8).images["train"]
    there = here.with_base(here.rows.base.clone())
    here.rows.base.zero_()
    theirs = open_data(Coloured(channels=1), 8).images["train"]
    positions = torch.tensor([3, 0, 7])
    for mine, other in zip(there.gather(positions), theirs.gather(positions), strict=True):
        assert torch.equal(mine, other)


@pytest.mark.parametrize("side", [8, 300, 700])
def test_a_fingerprint_takes_few_of_the_images_at_once(side: int) -> None:
    base = torch.randint(0, 256, (12, side, side, 3), dtype=torch.uint8)
    parts = [*SplitImages(ImageRows(base), torch.zeros(12, dtype=torch.int64)).iterate_bytes()]
    assert b"".join(parts) == base.permute(0, 3, 1, 2).numpy().tobytes()
    assert max(map(len, parts)) <= max(2**20, 3 * side**2)
