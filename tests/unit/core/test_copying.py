"""Sequences that are copied before a prompt would overwrite what others may want, by hand.

One device of 70 MiB, with a disk. A has run on it: a sequence holds 250 tokens of its system
prompt, 60 of the first workflow's own and an answer of 32. The next prompt of A shares the 250.
"""

from msgspec.structs import replace
from tests.by_hand import ByHand
from tests.graphs import chain, cluster

from fate.domain.catalog import Cluster
from fate.domain.graph import Chunk
from fate.domain.messages import (
    Call,
    CancelAll,
    Cancelled,
    DeviceLost,
    DeviceReady,
    Done,
    Failed,
    Load,
    Move,
    Unload,
)
from fate.domain.state import SequenceSlot


def warm(on: Cluster | None = None, **options: bool) -> ByHand:
    """A core in which A is loaded, its first sequence filled."""
    hand = ByHand(on or cluster(devices=1, park_bytes=1 << 20), **options)
    hand.warm("A")
    return hand


def copying(hand: ByHand) -> tuple[Move, list[SequenceSlot]]:
    """Start another workflow's call; return its copy, and the sequences of A."""
    hand.plan((hand.submit_one("A"),))
    return hand.one(Move), hand.core.fleet.devices[0].models["A"].sequences


def test_a_prompt_that_goes_its_own_way_begins_with_a_copy() -> None:
    """Into the empty sequence; what the first held stays, and is held while it is read."""
    hand = warm()
    copy, slots = copying(hand)
    assert (copy.device, copy.source, copy.bytes_per_s) == ("d0", "d0", 0.0)
    assert (copy.source_sequence, copy.sequence) == (0, 1)
    assert slots[0].busy and slots[1].busy and copy.path == slots[0].path
    hand.send(Done(activity=copy.activity, seconds=0.01))
    call = hand.one(Call)
    assert call.sequence == 1 and not slots[0].busy
    hand.finished(call)
    assert [slot.path[-1].key for slot in slots[:2]] == ["out:warm-A-0/s0[0]", "out:w/s0[0]"]


def test_a_prompt_that_goes_on_is_not_copied() -> None:
    """Its call begins at once, where its beginning lies."""
    hand = ByHand(cluster(devices=1, park_bytes=1 << 20))
    hand.submit(chain("w", "AA"))
    hand.plan((Chunk("w/s0", 0, 1),))
    hand.loaded(hand.one(Load))
    hand.finished(hand.one(Call))
    hand.expand()
    hand.plan((Chunk("w/s1", 0, 1),))
    assert hand.one(Call).sequence == 0


def test_nothing_is_copied_where_it_cannot_or_shall_not() -> None:
    """Without a disk, with parking off, or with no sequence left to copy into."""
    for hand in (
        warm(cluster(devices=1)),
        warm(park=False),
        warm(cluster(devices=1, sequences=1, park_bytes=1 << 20)),
    ):
        hand.plan((hand.submit_one("A"),))
        assert hand.one(Call).sequence == 0


def test_full_sequences_are_overwritten_oldest_first() -> None:
    """Two of them, both with the system prompt: the third workflow takes the older one."""
    hand = warm(cluster(devices=1, sequences=2, park_bytes=1 << 20))
    copy, _ = copying(hand)
    hand.send(Done(activity=copy.activity))
    hand.finished(hand.one(Call))
    hand.plan((hand.submit_one("A", "v"),))
    assert hand.one(Call).sequence == 0


def test_a_failed_copy_is_a_prompt_computed() -> None:
    """Nothing is charged to the call, and the source is free."""
    hand = warm()
    copy, slots = copying(hand)
    hand.send(Failed(activity=copy.activity, reason="the disk is full"))
    assert hand.one(Call).sequence == 1 and not slots[0].busy
    assert hand.core.lifecycle.instances["w/s0"].failures == {}


def test_a_stop_frees_the_source() -> None:
    """Before the copy is made as well as during it."""
    hand = warm()
    copy, slots = copying(hand)
    hand.send(CancelAll())
    hand.send(Cancelled(activity=copy.activity))
    assert hand.core.finished and not slots[0].busy and slots[1].path == ()


def test_a_parked_source_is_held_until_it_is_back() -> None:
    """A comes back for the call: its sequence is restored, then copied. A loss ends the hold."""
    hand = warm()
    hand.plan((hand.submit_one("B", "v"),))
    hand.send(Done(activity=hand.one(Unload).activity))
    hand.loaded(hand.one(Load))
    hand.finished(hand.one(Call))
    hand.plan((hand.submit_one("A"),))
    assert hand.core.fleet.devices[0].models["A"].sequences[0].busy
    hand.send(Done(activity=hand.one(Unload).activity))
    hand.loaded(hand.one(Load))
    assert hand.one(Move).source_sequence == 0
    hand.send(DeviceLost(device="d0", reason="gone"))
    hand.send(DeviceReady(device="d0"))
    hand.plan((Chunk("w/s0", 0, 1),))
    hand.loaded(hand.one(Load))
    assert hand.one(Call).sequence == 0


def test_models_that_make_vectors_are_not_parked() -> None:
    """A vector needs all of its text: nothing that a cache holds is used again."""
    on = cluster(devices=1, park_bytes=1 << 20)
    vectors = replace(on.models[0], task="embed")
    hand = ByHand(replace(on, models=(vectors, *on.models[1:])))
    assert hand.core.fleet.parking.table.tolist() == [[0, 1, 1]]
