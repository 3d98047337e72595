"""An epoch's order follows from seed and epoch, for any number of processes."""

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
    assert [len(batches) for batches in shuffled] == [4, 4]
    for count in (90, 91, 2):
        ordered = [flatten(list_batches(EpochOrder(count, 10, None, rank, 2), 1)) for rank in (0, 1)]
        assert sorted(ordered[0] + ordered[1]) == list(range(count))
        assert abs(len(ordered[0]) - len(ordered[1])) <= 1


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
