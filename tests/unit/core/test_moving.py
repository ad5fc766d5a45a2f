"""KV states that come from another device, worked by hand.

Two devices, a link between them. A has run on d0, where its sequence holds 342 tokens, 34 200
bytes, of which the next prompt of A starts with 250: 0.1 s of prefill.
"""

import pytest
from tests.by_hand import ByHand
from tests.graphs import cluster

from fate.domain.graph import Chunk
from fate.domain.messages import (
    Call,
    Cancel,
    CancelAll,
    Cancelled,
    DeviceLost,
    Done,
    Failed,
    Load,
    Move,
    Unload,
)

BYTES = 342 * 100


def ready_elsewhere(bytes_per_s: float = 1e8, **options: bool) -> tuple[ByHand, Chunk]:
    """A core in which A is warm on d0; a chunk of A is ready."""
    on = cluster(devices=2, park_bytes=1 << 20, link_bytes_per_s=bytes_per_s)
    hand = ByHand(on, **options)
    hand.warm("A")
    return hand, hand.submit_one("A", "w")


def moving(hand: ByHand, chunk: Chunk) -> Move:
    """Start the chunk on d1 and return the move behind the load."""
    hand.plan((), (chunk,))
    hand.loaded(hand.one(Load))
    return hand.one(Move)


def test_a_prompt_comes_over_the_link_before_its_call() -> None:
    """load, move, call; the source is held meanwhile and free afterwards."""
    hand, chunk = ready_elsewhere()
    snapshot = hand.snapshot
    assert snapshot.moved[0].tolist() == [0.0, 250.0]
    assert snapshot.move_s[0, 1] == pytest.approx(BYTES / 1e8 + 0.005 + BYTES * 1e-9)
    move = moving(hand, chunk)
    assert (move.device, move.source, move.source_sequence, move.sequence) == ("d1", "d0", 0, 0)
    assert move.bytes_per_s == pytest.approx(1e8)
    entry = hand.core.fleet.devices[0].models["A"]
    assert entry.users == 1 and entry.sequences[0].busy
    hand.send(Done(activity=move.activity, seconds=0.01, moved_bytes=BYTES))
    assert hand.one(Call).sequence == 0
    assert entry.users == 0 and not entry.sequences[0].busy


@pytest.mark.parametrize(("speed", "options"), [(1e5, {}), (0.0, {}), (1e8, {"move": False})])
def test_nothing_moves_where_that_does_not_pay(speed: float, options: dict[str, bool]) -> None:
    """Over a slow link, without one, or when it is switched off."""
    hand, chunk = ready_elsewhere(speed, **options)
    hand.plan((), (chunk,))
    hand.loaded(hand.one(Load))
    assert hand.one(Call).chunk == chunk
    hand.none(Move)


def test_a_parked_state_moves_too() -> None:
    """A has left d0 for B; what it held comes from d0's disk, which holds nobody up."""
    hand, chunk = ready_elsewhere()
    hand.plan((hand.submit_one("B", "v"),))
    hand.send(Done(activity=hand.one(Unload).activity))
    hand.loaded(hand.one(Load))
    move = moving(hand, chunk)
    assert (move.source, move.source_sequence) == ("d0", 0)
    assert "A" in hand.core.fleet.devices[0].parked


def test_a_failed_move_is_a_prompt_computed() -> None:
    """The chain goes on with its call, and nothing is charged to it."""
    hand, chunk = ready_elsewhere()
    move = moving(hand, chunk)
    hand.send(Failed(activity=move.activity, reason="no such file"))
    assert hand.one(Call).chunk == chunk
    assert hand.core.lifecycle.instances["w/s0"].failures == {}
    assert hand.core.fleet.devices[0].models["A"].users == 0


def test_a_source_that_is_gone_by_then_is_not_asked() -> None:
    """d0 is lost while d1 loads: the call computes its prompt."""
    hand, chunk = ready_elsewhere()
    hand.plan((), (chunk,))
    load = hand.one(Load)
    hand.send(DeviceLost(device="d0", reason="gone"))
    hand.loaded(load)
    assert hand.one(Call).chunk == chunk


def test_a_source_lost_during_the_move_ends_it_as_failed() -> None:
    """The other device goes on; what was held on the lost one is not missed."""
    hand, chunk = ready_elsewhere()
    move = moving(hand, chunk)
    hand.send(DeviceLost(device="d0", reason="gone"))
    hand.send(Failed(activity=move.activity, reason="the source is lost"))
    assert hand.one(Call).chunk == chunk


def test_a_target_lost_during_the_move_frees_the_source() -> None:
    """The chunk is ready again, the source idle."""
    hand, chunk = ready_elsewhere()
    moving(hand, chunk)
    hand.send(DeviceLost(device="d1", reason="gone"))
    entry = hand.core.fleet.devices[0].models["A"]
    assert entry.users == 0 and not entry.sequences[0].busy
    assert chunk in hand.snapshot.chunks


def test_a_source_is_not_evicted_while_it_sends() -> None:
    """d0 cannot make room for B as long as A is being read; then it can."""
    hand, chunk = ready_elsewhere()
    hand.plan((), (chunk,))
    load = hand.one(Load)
    other = hand.submit_one("B", "v")
    hand.loaded(load)
    move = hand.one(Move)
    hand.plan((other,))
    hand.none(Unload)
    hand.send(Done(activity=move.activity, seconds=0.01))
    hand.plan((other,))
    assert hand.one(Unload).model == "A"


def test_a_move_can_be_cancelled() -> None:
    """A stop ends it, and frees its source."""
    hand, chunk = ready_elsewhere()
    move = moving(hand, chunk)
    hand.send(CancelAll())
    assert hand.one(Cancel).activity == move.activity
    hand.send(Cancelled(activity=move.activity))
    assert hand.core.finished and hand.core.fleet.devices[0].models["A"].users == 0


def test_a_move_to_a_device_that_is_drained_meanwhile_is_cancelled() -> None:
    """Its work runs elsewhere; the source is free again."""
    on = cluster(devices=2, memory_mib=160, slots=2, park_bytes=1 << 20, link_bytes_per_s=1e8)
    hand = ByHand(on, measured=True, breaker_failures=1)
    hand.warm("A")
    other, chunk = hand.submit_one("B", "v"), hand.submit_one("A", "w")
    hand.plan((), (other, chunk))
    hand.loaded(hand.one(Load))
    call = hand.one(Call)
    hand.loaded(hand.one(Load))
    move = hand.one(Move)
    hand.send(Failed(activity=call.activity, reason="broken"))
    assert hand.one(Cancel).activity == move.activity
    hand.send(Cancelled(activity=move.activity))
    assert {entry.chunk for entry in hand.core.lifecycle.pool} == {other, chunk}
    assert hand.core.lifecycle.instances[chunk.instance].failures == {}
    entry = hand.core.fleet.devices[0].models["A"]
    assert entry.users == 0 and not entry.sequences[0].busy
