"""A decision recomputed from its snapshot and plan."""

from collections.abc import Mapping, Sequence

import msgspec
import pytest
from hypothesis import given
from tests.strategies import Box, Kind, Node, make_snapshot, snapshots

from fate.domain.catalog import Cluster, Device, Model
from fate.domain.graph import Chunk
from fate.domain.messages import Drained, Readmitted, Record, Woke
from fate.domain.plan import Plan, Search
from fate.domain.snapshot import Snapshot
from fate.policy.greedy import greedy_plan
from fate.policy.kernel.problem import Weights, plain
from fate.policy.kernel.reference import replay
from fate.view.explain import Decision, ExplainError, decide
from fate.view.explain_text import explain_text
from fate.view.timeline import table_of
from fate.view.trail import Explained
from fate.view.trail import explained as waiting
from fate.view.waits import Held, spells

MODELS = (Kind(bytes=60, load_s=8.0, unload_s=1.0), Kind(bytes=60, load_s=4.0, unload_s=0.5))


def named(snapshot: Snapshot) -> Cluster:
    """Return a cluster with names for a snapshot's indices."""
    return Cluster(
        devices=tuple(
            Device(id=f"d{d}", engine="fake", memory_bytes=int(snapshot.memory_bytes[d]))
            for d in range(snapshot.devices)
        ),
        models=tuple(
            Model(id=f"m{m}", weight_bytes=int(snapshot.footprint_bytes[0, m]))
            for m in range(snapshot.load_s.shape[1])
        ),
    )


def explained(
    nodes: Sequence[Node],
    boxes: Sequence[Box],
    *orders: Sequence[int],
    chunk: int = 0,
    drained: Mapping[int, Drained] | None = None,
) -> Decision:
    """Explain one chunk of a hand-made plan."""
    snapshot = make_snapshot(nodes, boxes, MODELS, contents=[(("m0", 0), ("system", 60))])
    plan = Plan(
        policy="fate",
        orders=tuple(tuple(snapshot.chunks[node] for node in order) for order in orders),
        search=Search(base="late-eft", moves=13, solver="SKIPPED"),
    )
    return decide(named(snapshot), snapshot, plan, snapshot.chunks[chunk], drained=drained)


def test_terms_of_a_warm_and_a_cold_device() -> None:
    """Warm with a prefix: prefill of the rest and decode. Cold and full: unload and load too."""
    warm, cold = explained(
        [Node(prompt=(("system", 60),))], [Box(resident={0: (0,)}), Box(resident={1: ()})], [0], []
    ).options
    assert warm.terms is not None and cold.terms is not None
    assert msgspec.structs.astuple(warm.terms) == pytest.approx((0, 0, 0, 0, 0.4, 1.0, 0))
    assert msgspec.structs.astuple(cold.terms) == pytest.approx((0, 0.5, 8.0, 0, 1.0, 1.0, 0))
    assert (warm.new_tokens, warm.cached_tokens, warm.evicts) == (40, 60, ())
    assert (cold.new_tokens, cold.cached_tokens, cold.evicts) == (100, 0, ("m1",))
    assert (warm.finish_s, cold.finish_s) == pytest.approx((101.4, 110.5))


def test_the_runner_up_and_what_it_lost_on() -> None:
    """The best other device, and the largest difference."""
    decision = explained(
        [Node()], [Box(resident={0: ()}), Box(), Box(resident={1: ()})], [0], [], []
    )
    assert (decision.chosen, decision.runner_up, decision.lost_on) == ("d0", "d1", "load")
    assert decision.lost_by_s == pytest.approx(8.0)
    assert (decision.position, decision.starts_now) == (1, True)


def test_waiting_for_a_warm_device_shows_as_queue() -> None:
    """Behind what runs there and what the plan puts before it."""
    boxes = [Box(resident={0: ()}, free_in=(3.0,)), Box()]
    decision = explained([Node(), Node()], boxes, [1, 0], [])
    chosen = decision.options[0]
    assert chosen.terms is not None
    assert chosen.terms.queue_s == pytest.approx(3.0 + 1.0 + 1.0)
    assert (decision.position, decision.starts_now) == (2, False)


def test_devices_that_cannot_run_a_chunk_say_why() -> None:
    """Too small, lost, or it failed there."""
    boxes = [
        Box(resident={0: ()}),
        Box(memory=50),
        Box(free_in=(float("inf"),)),
        Box(),
        Box(memory=100, resident={1: ()}, pinned=(1,)),
    ]
    decision = explained([Node(eligible=(1, 0, 0, 0, 1))], boxes, [0], [], [], [], [])
    assert [option.why_not for option in decision.options] == [
        "",
        "m0 needs 0 MiB, the device declares 0 MiB",
        "lost",
        "failed here before, others can still try",
        "no room for m0 beside pinned models",
    ]


def test_a_device_that_is_put_aside_is_not_called_lost() -> None:
    """Both have no slot free, now or later; which one it is the plan's snapshot does not say."""
    gone = Box(free_in=(float("inf"),))
    slow = Drained(device="d1", reason="slow: an item took 9 times as long", until_s=12.0)
    busy = Drained(device="d2", reason="busy: 429; it asks to wait 30 s", until_s=31.0)
    aside = {1: slow, 2: busy}
    decision = explained([Node()], [Box(), gone, gone, gone], [0], [], [], [], drained=aside)
    assert [option.why_not for option in decision.options] == [
        "",
        "drained until 12.0 s: it is too slow: an item took 9 times as long",
        "at rest until 31.0 s, as its server asks: 429; it asks to wait 30 s",
        "lost",
    ]


def test_what_waits_for_a_device_at_rest_says_so() -> None:
    """Rests and drains that overlap the time in which the chunk was ready, until each ended."""
    busy = Drained(device="d1", reason="busy: 429; it asks to wait 3 s", until_s=4.0)
    longer = Drained(device="d1", reason="busy: 429; it asks to wait 3 s", until_s=6.0)
    slow = Drained(device="d0", reason="slow: an item took long", until_s=30.0)
    records = [
        Record(at_s=1.0, events=(), commands=(busy,)),
        Record(at_s=3.0, events=(), commands=(longer,)),
        Record(at_s=6.0, events=(Woke(at_s=6.0),), commands=(slow,)),
        Record(at_s=8.0, events=(), commands=(Readmitted(device="d0"),)),
    ]
    asides = spells(records)
    assert [(a.device, a.start_s, a.end_s) for a in asides] == [
        ("d1", 1.0, 3.0),
        ("d1", 3.0, 6.0),
        ("d0", 6.0, 8.0),
    ]
    decision = explained([Node()], [Box()], [0])
    decision = msgspec.structs.replace(decision, at_s=6.0, waited_s=2.5)
    text = explain_text(waiting(decision, (), asides))
    assert "while it was ready:\n  3.00 to 6.00 s: d1 was at rest until 6.0 s, as its" in text
    assert "d0 was" not in text and "1.00 to" not in text
    assert table_of(waiting(decision, (), asides))["waits"] != []


def test_a_chunk_in_no_list_was_left_waiting() -> None:
    """It still has its prices, but no device and no runner-up."""
    decision = explained([Node(), Node()], [Box(), Box()], [1], [])
    assert (decision.chosen, decision.runner_up, decision.position) == (None, None, 0)
    text = explain_text(Explained(decision=decision))
    assert "left waiting: in no device's list" in text
    assert text.endswith("No device was to have it yet: the plan left it waiting.")


def test_a_chunk_that_was_not_ready_is_refused() -> None:
    """With the plan it was asked for."""
    snapshot = make_snapshot([Node()], [Box()], MODELS)
    with pytest.raises(ExplainError, match="w/late was not ready at plan 1"):
        decide(named(snapshot), snapshot, Plan(policy="x", orders=((),)), Chunk("w/late", 0, 1))


def test_the_table() -> None:
    """A row per device, the chosen one marked; then the words, and what held it back."""
    boxes = [Box(resident={0: ()}), Box(resident={1: ()}), Box(memory=50)]
    decision = explained([Node()], boxes, [0], [], [])
    before = (Held(at_s=99.0, version=0, device=None),)
    assert explain_text(Explained(decision=decision, held=before)).splitlines() == [
        "w0/s1000 (model m0), ready for 0.00 s",
        "plan 1 of fate at 100.00 s: from late-eft, 13 moves, solver skipped",
        "-> d0, position 1, starts now",
        "",
        "  device    queue   unload     load transfer  prefill   decode   regret    total"
        "   ends at  tokens new/cached",
        "* d0         0.00     0.00     0.00     0.00     1.00     1.00     0.00     2.00"
        "    102.00  100/0",
        "  d1         0.00     0.50     8.00     0.00     1.00     1.00     0.00    10.50"
        "    110.50  100/0  evicts m1",
        "  d2     cannot run it: m0 needs 0 MiB, the device declares 0 MiB",
        "",
        "d0 won by 8.5 s over d1, most of it loading the model.",
        "On d1 it would have ended 8.5 s later because the model would have to be loaded (8.0 s).",
        "",
        "before that it was held back:",
        "  plan 0 at 99.00 s: in no device's list, left for a later plan",
    ]


@given(snapshot=snapshots())
def test_the_predicted_end_is_the_kernel_s(snapshot: Snapshot) -> None:
    """Explaining a plan and planning it agree, and terms add up to the end."""
    plan = greedy_plan(snapshot)
    numbers = {chunk: n for n, chunk in enumerate(snapshot.chunks)}
    orders = [[numbers[chunk] for chunk in order] for order in plan.orders]
    ends = replay(plain(snapshot, Weights()), orders)
    for chunk in snapshot.chunks[:3]:
        decision = decide(named(snapshot), snapshot, plan, chunk)
        for option in decision.options:
            if option.chosen:
                assert option.finish_s == ends[numbers[chunk]]
            if option.terms is not None and option.finish_s is not None:
                terms_s = sum(msgspec.structs.astuple(option.terms)) - option.terms.regret_s
                assert snapshot.now_s + terms_s == pytest.approx(option.finish_s)
