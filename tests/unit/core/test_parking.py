"""KV states that outlive their model on the device's disk, worked by hand.

One device of 70 MiB holds one model at a time. A chain's prompt is a system prompt of 250 tokens
and 60 of its own; with the answer's 32 a sequence holds 342 tokens, 34 200 bytes.
"""

import pytest
from tests.by_hand import ByHand, first
from tests.graphs import chain, cluster

from fate.domain.catalog import Parked
from fate.domain.messages import Call, DeviceLost, DeviceReady, Done, Failed, Load, Move, Unload

BYTES = 342 * 100


def device(park_bytes: int = 1 << 20, **options: bool) -> ByHand:
    """A core with one device that may keep so much on its disk."""
    return ByHand(cluster(devices=1, park_bytes=park_bytes), **options)


def swap(hand: ByHand, model: str, workflow: str) -> tuple[Unload, Load]:
    """Run a call of another model; return the commands that bring it in."""
    chunk = hand.submit_one(model, workflow)
    hand.plan((chunk,))
    unload = hand.one(Unload)
    hand.send(Done(activity=unload.activity, seconds=0.05))
    load = hand.one(Load)
    hand.loaded(load)
    return unload, load


def test_what_a_model_held_comes_back_with_it() -> None:
    """A leaves for B and returns: its sequence is saved, restored, and hit by A's next prompt."""
    hand = device()
    hand.warm("A")
    unload, load = swap(hand, "B", "v")
    assert (unload.park, unload.discard, load.restore) == ((0,), (), ())
    hand.finished(hand.one(Call))
    state = hand.core.fleet.devices[0]
    assert {k: one.size_bytes for k, one in state.parked["A"].items()} == {0: BYTES}
    chunk = hand.submit_one("A", "w")
    snapshot = hand.snapshot
    content = snapshot.content[0, 0].tolist()
    assert content[1:] == [-1, -1, -1] and snapshot.resident[0].tolist() == [0, 1, 0]
    assert snapshot.shared(0, content[0]) == 250
    hand.plan((chunk,))
    assert hand.one(Unload).park == (0,)
    hand.send(Done(activity=hand.one(Unload).activity))
    assert hand.one(Load).restore == (0,)
    hand.loaded(hand.one(Load))
    assert "A" not in state.parked and "B" in state.parked
    copy = hand.one(Move)
    assert (copy.source, copy.source_sequence, copy.sequence) == ("d0", 0, 1)
    hand.send(Done(activity=copy.activity))
    assert hand.one(Call).sequence == 1


def test_what_leaves_shows_where_it_will_be() -> None:
    """While A is on its way out its content counts as parked, in the slot it will come back in."""
    hand = ByHand(cluster(devices=1, slots=2, park_bytes=1 << 20))
    hand.warm("A")
    hand.plan((hand.submit_one("B", "v"),))
    unload = hand.one(Unload)
    hand.submit(chain("w", "A"))
    assert hand.core.fleet.devices[0].models["A"].status == "evicting"
    snapshot = hand.snapshot
    assert snapshot.resident[0].tolist() == [0, 1, 0]
    assert snapshot.shared(0, snapshot.content[0, 0, 0]) == 250
    hand.send(Done(activity=unload.activity))
    assert hand.one(Load).model == "B"


def test_a_state_that_could_not_be_saved_is_missing() -> None:
    """The unload says so: the next load restores nothing, and nothing is expected of it."""
    hand = device()
    hand.warm("A")
    hand.plan((hand.submit_one("B", "v"),))
    hand.send(Done(activity=hand.one(Unload).activity, missing=(0,)))
    assert hand.core.fleet.devices[0].parked == {}
    hand.loaded(hand.one(Load))
    hand.finished(hand.one(Call))
    assert swap(hand, "A", "w")[1].restore == ()


def test_a_state_that_could_not_be_restored_is_forgotten() -> None:
    """The slot counts as empty, and the call that was to begin with a copy computes its prompt."""
    hand = device()
    hand.warm("A")
    swap(hand, "B", "v")
    hand.finished(hand.one(Call))
    chunk = hand.submit_one("A", "w")
    hand.plan((chunk,))
    hand.send(Done(activity=hand.one(Unload).activity))
    hand.send(Done(activity=hand.one(Load).activity, seconds=0.4, missing=(0,)))
    slots = hand.core.fleet.devices[0].models["A"].sequences
    assert hand.one(Call).sequence == 1 and slots[1].path[-1].key == "out:w/s0[0]"
    assert slots[0].path == () and not slots[0].busy


@pytest.mark.parametrize("options", [{"park": False}, {}])
def test_nothing_is_parked_where_it_is_off(options: dict[str, bool]) -> None:
    """By the core's switch, or for want of a disk budget."""
    hand = device(1 << 20 if options else 0, **options)
    hand.warm("A")
    unload, _ = swap(hand, "B", "v")
    assert unload.park == ()
    hand.finished(hand.one(Call))
    assert swap(hand, "A", "w")[1].restore == ()
    assert not hand.snapshot.parks.any()


def test_the_oldest_state_makes_room() -> None:
    """The disk holds two states: when the third is saved the first goes."""
    hand = device(2 * BYTES + 50)
    hand.warm("A")
    swap(hand, "B", "v")
    hand.finished(hand.one(Call))
    unload, _ = swap(hand, "C", "w")
    assert (unload.park, unload.discard) == ((0,), ())
    hand.finished(hand.one(Call))
    unload, load = swap(hand, "B", "x")
    assert (unload.model, unload.park, load.restore) == ("C", (0,), (0,))
    assert unload.discard == (Parked("A", 0),)
    assert list(hand.core.fleet.devices[0].parked) == ["C"]


def test_a_state_that_never_fits_is_not_saved() -> None:
    """The budget is smaller than one state."""
    hand = device(BYTES - 1)
    hand.warm("A")
    assert swap(hand, "B", "v")[0].park == ()


def test_a_failed_load_keeps_its_states() -> None:
    """They are on the disk still, and come back with the next attempt."""
    hand = device()
    hand.warm("A")
    swap(hand, "B", "v")
    hand.finished(hand.one(Call))
    chunk = hand.submit_one("A", "w")
    hand.plan((chunk,))
    hand.send(Done(activity=hand.one(Unload).activity))
    hand.send(Failed(activity=hand.one(Load).activity, reason="busy"))
    hand.plan((chunk,))
    assert hand.one(Load).restore == (0,)


def test_a_failed_unload_parks_nothing() -> None:
    """The model is still there, with what it holds."""
    hand = device()
    hand.warm("A")
    hand.plan((hand.submit_one("B", "v"),))
    hand.send(Failed(activity=hand.one(Unload).activity, reason="stuck"))
    state = hand.core.fleet.devices[0]
    assert state.parked == {} and state.models["A"].sequences[0].path
    assert not hand.core.fleet.devices[0].models["A"].parking


def test_a_lost_device_has_nothing_parked() -> None:
    """Its states go with its process."""
    hand = device()
    hand.warm("A")
    swap(hand, "B", "v")
    hand.send(DeviceLost(device="d0", reason="gone"))
    assert hand.core.fleet.devices[0].parked == {}
    hand.send(DeviceReady(device="d0"))
    hand.plan((first("v"),))
    assert hand.one(Load).restore == ()
