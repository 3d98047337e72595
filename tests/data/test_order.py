"""An epoch's order follows from seed and epoch, for any number of processes."""

import numpy as np
import pytest
import torch
from image_data import flatten

from viewfinder.data.order import EpochOrder


def list_batches(order: EpochOrder, epoch: int) -> list[list[int]]:
    order.set_epoch(epoch)
    parts = list(order)
    assert len(parts) == len(order)
    return [places.tolist() for part in parts for _, places in part.batches]


def test_an_epoch_is_a_permutation_and_another_one_each_epoch_and_seed() -> None:
    orders = {
        (seed, epoch): flatten(list_batches(EpochOrder(100, 32, seed), epoch)) for seed in range(3) for epoch in (0, 1)
    }
    assert all(sorted(order) == list(range(100)) for order in orders.values())
    assert len({tuple(order) for order in orders.values()}) == 6
    assert list(range(100)) not in orders.values()


def test_an_epochs_order_follows_from_seed_and_epoch_whatever_was_drawn_before() -> None:
    fresh = list_batches(EpochOrder(100, 32, 5), 3)
    torch.manual_seed(99)
    worn = EpochOrder(100, 32, 5)
    for epoch in (0, 1, 2, 7):
        list_batches(worn, epoch)
        torch.rand(17)
    state = torch.get_rng_state()
    assert list_batches(worn, 3) == fresh
    assert torch.equal(torch.get_rng_state(), state)


def test_two_ranks_take_the_batches_of_one_in_turn() -> None:
    alone = list_batches(EpochOrder(100, 10, 4), 1)
    ranks = [list_batches(EpochOrder(100, 10, 4, rank, 2), 1) for rank in (0, 1)]
    assert ranks == [alone[0::2], alone[1::2]]


def test_shuffled_ranks_have_equally_many_batches_and_evaluating_ones_leave_nothing_out() -> None:
    shuffled = [list_batches(EpochOrder(90, 10, 4, rank, 2), 1) for rank in (0, 1)]
    assert [len(batches) for batches in shuffled] == [5, 5]
    for count in (90, 91, 2):
        ordered = [flatten(list_batches(EpochOrder(count, 10, None, rank, 2), 1)) for rank in (0, 1)]
        assert sorted(ordered[0] + ordered[1]) == list(range(count))
        assert abs(len(ordered[0]) - len(ordered[1])) <= 1


@pytest.mark.parametrize(("count", "world_size"), [(90, 2), (97, 2), (83, 3), (86, 3), (80, 2), (44, 4)])
def test_the_batches_of_all_ranks_are_the_batches_of_one(count: int, world_size: int) -> None:
    together = zip(
        *(list_batches(EpochOrder(count, 10, 4, rank, world_size), 1) for rank in range(world_size)), strict=True
    )
    steps = [[set(batch) for batch in step] for step in together]
    alone = [set(batch) for batch in list_batches(EpochOrder(count, 10 * world_size, 4), 1)]
    if count % (10 * world_size) in range(1, 2 * world_size):  # too few for all
        alone = alone[: count // (10 * world_size)]
    assert [set.union(*step) for step in steps] == alone
    sizes = [[len(batch) for batch in step] for step in steps]
    assert all(max(step) - min(step) <= 1 and min(step) >= 2 for step in sizes)


def test_a_last_batch_of_one_is_left_out_only_when_shuffled() -> None:
    assert [len(batch) for batch in list_batches(EpochOrder(65, 32, 1), 0)] == [32, 32]
    assert [len(batch) for batch in list_batches(EpochOrder(66, 32, 1), 0)] == [32, 32, 2]
    assert flatten(list_batches(EpochOrder(65, 32, None), 0)) == list(range(65))
    assert sorted(flatten(list_batches(EpochOrder(5, 1, 1), 0))) == list(range(5))


def test_most_is_the_number_of_batches_of_each_process() -> None:
    whole = list_batches(EpochOrder(100, 10, 4), 2)
    assert list_batches(EpochOrder(100, 10, 4, max_batches=3), 2) == whole[:3]
    assert list_batches(EpochOrder(100, 10, 4, 1, 2, max_batches=2), 2) == [whole[1], whole[3]]
    assert list_batches(EpochOrder(100, 10, 4, max_batches=30), 2) == whole


@pytest.mark.parametrize("chunk", [1, 2, 3, 5, 50])
def test_chunks_hold_an_epochs_batches_in_order_and_know_their_place(chunk: int) -> None:
    whole = list_batches(EpochOrder(47, 10, 3), 2)
    order = EpochOrder(47, 10, 3, chunk_size=chunk)
    assert list_batches(order, 2) == whole
    parts = list(order)
    assert [len(part.batches) for part in parts[:-1]] == [chunk] * (len(parts) - 1)
    assert [part.first for part in parts] == list(range(0, 5, chunk))
    assert {part.total for part in parts} == {5}


def make_balanced(rank: int = 0, world_size: int = 1, max_batches: int | None = None) -> EpochOrder:
    order = EpochOrder(1200, 16, 3, rank, world_size, max_batches)
    order.drawn_labels = torch.tensor([2] * 1000 + [0] * 195 + [3] * 5)
    return order


def test_a_balanced_epoch_draws_each_class_equally_often_and_each_image_of_a_class() -> None:
    order = make_balanced()
    assert order.drawn_labels is not None
    draws = torch.tensor([flatten(list_batches(order, epoch)) for epoch in range(40)])
    assert draws.shape == (40, 1200)
    counts = torch.bincount(order.drawn_labels[draws.flatten()], minlength=4).numpy()
    # Standard deviation of a binomial count: sqrt(48000 * 1/3 * 2/3) = 103.
    assert counts[1] == 0
    assert np.abs(counts[[0, 2, 3]] - 16_000).max() < 5 * 103
    images = torch.bincount(draws.flatten(), minlength=1200).numpy()
    for first, last in ((0, 1000), (1000, 1195), (1195, 1200)):
        expected = 16_000 / (last - first)
        assert np.abs(images[first:last] - expected).max() < 6 * (expected + 103 / (last - first)) ** 0.5
    assert len({tuple(epoch.tolist()) for epoch in draws}) == 40


def test_a_balanced_epoch_can_be_repeated_and_is_shared_among_processes() -> None:
    alone = list_batches(make_balanced(), 2)
    assert list_batches(make_balanced(), 2) == alone
    ranks = [list_batches(make_balanced(rank, 2), 2) for rank in (0, 1)]
    assert [batches[:37] for batches in ranks] == [alone[0:74:2], alone[1:74:2]]
    assert [batches[37:] for batches in ranks] == [[alone[74][:8]], [alone[74][8:]]]
    assert list_batches(make_balanced(max_batches=3), 2) == alone[:3]


def test_a_balanced_epoch_continues_after_the_batches_that_it_has_trained_on() -> None:
    order = make_balanced()
    order.resume_position = (2, 31)
    assert list_batches(order, 2) == list_batches(make_balanced(), 2)[31:]
