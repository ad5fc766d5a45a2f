"""The picture a policy sees: shapes, types, and values on a case small enough to check by hand."""

import numpy as np
import pytest
from msgspec.structs import replace
from tests.by_hand import ByHand, first
from tests.graphs import MIB, chain, cluster, llm, map_reduce

from fate.core.options import SchedulerOptions
from fate.core.snapshot import SnapshotBuilder, link_table
from fate.domain.catalog import Cluster, Link
from fate.domain.graph import Chunk, Graph, Stage
from fate.domain.messages import Call, DeviceLost, Done, ItemDone, Load, RunTool
from fate.domain.snapshot import Snapshot
from fate.policy.base import Lookahead

#: Letters of the shapes in the docstring of `Snapshot`, by field.
SHAPES = {
    "model": "N", "first_tokens": "N", "rest_tokens": "N", "head_tokens": "N", "rest_items": "N",
    "output_tokens": "N", "tail_s": "N", "transfer_s": "ND", "output_bytes": "N", "instance": "N",
    "workflow": "N", "eligible": "ND", "prompt": "NL", "held": "PL", "path_tokens": "Q2",
    "cached_at": "DQ", "cache_tokens": "D", "released_at_s": "N", "child_after_s": "E",
    "waited_s": "F", "must_start": "F",
    "child_ptr": "+", "child": "E", "child_share": "E", "free_at_s": "DS", "resident": "DM",
    "used_at": "DM", "pinned": "DM", "footprint_bytes": "DM", "memory_bytes": "D",
    "content": "DMK", "content_used_at": "DMK", "parks": "DM", "copy_s": "DM",
    "running_instance": "DS", "running_model": "DS", "running_sequence": "DS", "call_at_s": "DS",
    "call_gather_s": "DS", "call_work_s": "DS", "settled_at_s": "DM", "loader_at_s": "D",
    "load_s": "DM", "unload_s": "DM", "prefill": "DM3", "decode": "DM3", "slowdown": "DS",
    "link": "DD2", "moved": "ND", "move_s": "ND", "attained_s": "F", "path_s": "F", "age_s": "F",
    "gap_s": "F", "home": "F", "parents_on": "FD",
}  # fmt: skip
FLAGS = {"eligible", "must_start", "resident", "pinned", "parks"}
INDICES = {
    "model", "instance", "workflow", "prompt", "held", "path_tokens", "child_ptr", "child",
    "content", "home", "parents_on",
}  # fmt: skip
CLOCKS = {
    "cached_at", "cache_tokens", "used_at", "footprint_bytes", "memory_bytes", "content_used_at",
}  # fmt: skip


def dtype_of(name: str) -> type:
    """The element type that `domain.snapshot` promises."""
    if name in FLAGS:
        return np.uint8
    if name in INDICES | {"running_instance", "running_model", "running_sequence"}:
        return np.int32
    return np.int64 if name in CLOCKS else np.float64


def check_form(snapshot: Snapshot) -> None:
    """Every array has its shape, its type and C order; references stay within bounds."""
    f, n = snapshot.frontier, len(snapshot.node_names)
    d, m, k = snapshot.content.shape
    size = {
        "N": n, "F": f, "D": d, "M": m, "K": k, "S": snapshot.free_at_s.shape[1], "3": 3, "2": 2,
        "P": snapshot.contents_now + n, "E": len(snapshot.child), "+": n + 1,
        "L": snapshot.prompt.shape[1], "Q": len(snapshot.path_tokens),
    }  # fmt: skip
    for name, letters in SHAPES.items():
        array = getattr(snapshot, name)
        assert array.shape == tuple(size[letter] for letter in letters), name
        assert array.dtype == dtype_of(name), name
        assert array.flags.c_contiguous, name
    assert set(SHAPES) == {a for a, t in Snapshot.__annotations__.items() if "ndarray" in str(t)}
    assert (snapshot.child >= f).all() and (snapshot.child < n).all()
    assert snapshot.content.max(initial=-2) < snapshot.contents_now
    shares = np.zeros(n)
    np.add.at(shares, snapshot.child, snapshot.child_share)
    assert (shares <= 1.0 + 1e-9).all()


def test_a_small_case_by_hand() -> None:
    """Two devices of 70 MiB: A has run on d0, B runs on d1, a chain C-A is ready."""
    hand = ByHand()
    hand.warm("A")
    hand.submit(chain("v", "B"))
    hand.plan((), (first("v"),))
    hand.loaded(hand.one(Load))
    call = hand.one(Call)
    hand.submit(chain("w", "CA"))
    snapshot = hand.snapshot
    check_form(snapshot)
    assert snapshot.node_names == ("w/s0", "w/s1")
    assert snapshot.chunks == (first("w"),)
    assert snapshot.model.tolist() == [2, 0]
    assert snapshot.first_tokens.tolist() == [310.0, 342.0]
    assert snapshot.output_tokens.tolist() == [32.0, 32.0]
    assert snapshot.rest_items.tolist() == [0.0, 0.0]
    assert snapshot.eligible.tolist() == [[1, 1], [1, 1]]
    assert snapshot.resident.tolist() == [[1, 0, 0], [0, 1, 0]]
    assert snapshot.memory_bytes.tolist() == [70 * MIB] * 2
    assert snapshot.footprint_bytes[0].tolist() == [33 * MIB, 48 * MIB, 63 * MIB]
    assert snapshot.idle() == [0]
    assert snapshot.free_at_s[1, 0] == pytest.approx(call_ends(hand))
    assert snapshot.running_instance.tolist() == [[-1], [1]]
    # Two contents lie on devices: what warm-A left in d0's A, what v leaves in d1's B.
    assert snapshot.contents_now == 2
    assert snapshot.content[0].tolist() == [[0, -1, -1, -1], [-1] * 4, [-1] * 4]
    assert snapshot.content[1, 1].tolist() == [1, -1, -1, -1]
    # w/s1 shares A's system prompt with warm-A, nothing with B's call or with C's.
    assert [snapshot.shared(1, c) for c in range(4)] == [250, 0, 0, 342]
    assert [snapshot.shared(0, c) for c in range(4)] == [0, 0, 310, 0]
    assert snapshot.child_ptr.tolist() == [0, 1, 1]
    assert (snapshot.child.tolist(), snapshot.child_share.tolist()) == ([1], [1.0])
    assert snapshot.tail_s[0] == pytest.approx(0.002 + 342 / 2500 + 32 / 460, rel=1e-6)
    assert snapshot.waited_s.tolist() == [0.0]
    assert call.device == "d1"


def call_ends(hand: ByHand) -> float:
    """The call began when its load ended, two steps ago, and takes 0.002 + prefill + decode."""
    return hand.now_s - 2.0 + max(0.002 + 310 / 1370 + 32 / 330, 2.0 + 0.05 * 0.3252 + 1e-6)


def test_every_step_of_a_run_has_the_promised_form() -> None:
    """From the first plan to the last, with tools, maps, loss and several workflows."""
    hand = ByHand(cluster(slots=2, memory_mib=100))
    seen = 0
    hand.submit(map_reduce("m"), chain("w", "ABC"))
    while not hand.core.finished:
        if hand.core.planning:
            check_form(hand.snapshot)
            seen += 1
            hand.plan(hand.snapshot.chunks[:1], hand.snapshot.chunks[1:])
            continue
        running = next(c for c in hand.core.fleet.chains if c.activity is not None)
        chunk, activity = running.chunk, running.activity or 0
        if running.steps[0].kind in ("call", "tool") and chunk is not None:
            done = [ItemDone(activity=activity, item=i) for i in range(chunk.start, chunk.stop)]
            hand.send(*done, Done(activity=activity))
        else:
            hand.send(Done(activity=activity))
        hand.expand()
    assert seen > 5


def test_the_lookahead_sees_through_tools() -> None:
    """Two calls feed a tool that feeds a third: each has half a share in it."""
    stages = (
        llm("w", "a", "A"),
        llm("w", "b", "B"),
        Stage(id="join", kind="tool", parents=("a", "b")),
        llm("w", "c", "C", ["join"]),
    )
    hand = ByHand()
    hand.submit(Graph(id="w", stages=stages))
    check_form(hand.snapshot)
    assert hand.snapshot.node_names == ("w/a", "w/b", "w/c")
    assert hand.snapshot.child.tolist() == [2, 2]
    assert hand.snapshot.child_share.tolist() == [0.5, 0.5]
    hand.plan((first("w", "a"),), ())
    hand.loaded(hand.one(Load))
    call = hand.one(Call)
    hand.plan((), ())
    hand.finished(call)
    assert hand.snapshot.node_names == ("w/b", "w/c")
    assert hand.snapshot.child_share.tolist() == [1.0]


def test_tools_count_beside_a_direct_edge() -> None:
    """The next turn of an agent reads its last one, and waits for the longest way through tools."""
    tool = Stage(id="test", kind="tool", parents=("think",), tool_s=7.0)
    stages = (
        llm("w", "think", "A"),
        tool,
        replace(tool, id="look", tool_s=1.0),
        replace(tool, id="sum", parents=("test", "look"), tool_s=2.0),
        llm("w", "act", "A", ["think", "look", "sum"]),
    )
    hand = ByHand()

    def shown() -> Snapshot:
        maker = SnapshotBuilder(hand.core.lifecycle, hand.core.fleet, SchedulerOptions(), 0)
        return maker.build(1, hand.now_s, whole_frontier=False, lookahead="all")

    hand.submit(Graph(id="w", stages=stages))
    assert shown().node_names == ("w/think", "w/act")
    assert shown().child_after_s.tolist() == [9.0]
    hand.plan((first("w", "think"),), ())
    hand.loaded(hand.one(Load))
    snapshot, call = shown(), hand.one(Call)
    assert snapshot.node_names == ("w/act",)
    assert snapshot.released_at_s.tolist() == [snapshot.free_at_s[0, 0] + 9.0]
    hand.finished(call)
    hand.expand()
    assert shown().released_at_s.tolist() == pytest.approx([hand.now_s + 9.0], abs=1.5)


def test_chunks_of_a_map_divide_their_share() -> None:
    """Four single items and a critic behind them: a quarter each."""
    hand = ByHand(chunk_s=0.0)
    hand.submit(map_reduce("m"))
    hand.finished(hand.one(RunTool))
    hand.expand()
    snapshot = hand.snapshot
    assert snapshot.chunks == tuple(Chunk("m/notes", i, i + 1) for i in range(4))
    critic = snapshot.node_names.index("m/critic0")
    assert snapshot.child_share[snapshot.child == critic].tolist() == [0.25] * 4
    assert "m/final" in snapshot.node_names


def test_chunks_keep_their_names_when_they_are_ready() -> None:
    """A plan remembers its nodes by name: a map in one chunk, then one that is cut."""
    for chunk_s, names in (
        (100.0, ("m/notes[0:4]",)),
        (0.0, ("m/notes", "m/notes[1:2]", "m/notes[2:3]", "m/notes[3:4]")),
    ):
        hand = ByHand(cluster(devices=1), chunk_s=chunk_s)
        hand.submit(map_reduce("m"))
        options = SchedulerOptions(chunk_s=chunk_s)
        maker = SnapshotBuilder(hand.core.lifecycle, hand.core.fleet, options, 0)
        waiting = maker.build(1, hand.now_s, whole_frontier=False, lookahead="all").node_names
        assert waiting[: len(names)] == names
        hand.finished(hand.one(RunTool))
        hand.expand()
        assert hand.snapshot.node_names[: len(names)] == names


@pytest.mark.parametrize("shown", ["none", "near", "all"])
def test_rules_see_the_frontier_alone(shown: Lookahead) -> None:
    """What is ready is priced alike however much is shown behind it."""
    hand = ByHand()
    hand.submit(chain("w", "ABC"), map_reduce("m"))
    near, core = hand.snapshot, hand.core
    maker = SnapshotBuilder(core.lifecycle, core.fleet, SchedulerOptions(), 0)
    snapshot = maker.build(1, hand.now_s, whole_frontier=False, lookahead=shown)
    assert (len(snapshot.model) == snapshot.frontier) == (shown == "none")
    ready = snapshot.frontier
    assert snapshot.chunks == near.chunks
    assert snapshot.tail_s[:ready].tolist() == near.tail_s[:ready].tolist()
    assert snapshot.transfer_s[:ready].tolist() == near.transfer_s[:ready].tolist()


def test_of_many_ready_chunks_some_are_shown_with_what_is_below_them() -> None:
    """A stage whose ready parents are not all in view would seem to be free of them."""
    hand = ByHand()
    hand.submit(*[chain(f"w{n}", "ABC") for n in range(4)])
    core, shown = hand.core, dict[int, set[str]]()
    for most in (3, 4):
        options = SchedulerOptions(ready_max=most, lookahead_depth=1)
        maker = SnapshotBuilder(core.lifecycle, core.fleet, options, 0)
        snapshot = maker.build(1, hand.now_s, whole_frontier=False, lookahead="all")
        assert snapshot.frontier == most
        shown[most] = {name.partition("/")[2] for name in snapshot.node_names}
        maker.look(hand.now_s, whole_frontier=False, lookahead="all")
    assert shown == {3: {"s0", "s1"}, 4: {"s0", "s1", "s2"}}


def test_the_lookahead_is_bounded() -> None:
    """In depth and in number, whatever waits behind the frontier."""
    deep = ByHand(lookahead_depth=2)
    deep.submit(chain("w", "A" * 9))
    assert deep.snapshot.node_names == ("w/s0", "w/s1", "w/s2")
    fan = [llm("w", f"leaf{k}", "A", ["root"]) for k in range(50)]
    wide = ByHand(lookahead_max=5)
    wide.submit(Graph(id="w", stages=(llm("w", "root", "A"), *fan)))
    assert len(wide.snapshot.node_names) == 6
    strided = ByHand()
    strided.submit(Graph(id="w", stages=(llm("w", "root", "A"), *fan)))
    assert len(strided.snapshot.node_names) == 9


def test_links_cost_what_they_carry() -> None:
    """Outputs that lie on d0 are gathered over the link to d1, and are there for free on d0."""
    links = (Link(source="d0", target="d1", bytes_per_s=1e6, latency_s=0.5),)
    on: Cluster = replace(cluster(), links=links)
    hand = ByHand(on)
    parent = replace(llm("w", "s0", "A"), output_bytes=2_000_000)
    hand.submit(Graph(id="w", stages=(parent, llm("w", "s1", "A", ["s0"]))))
    assert hand.snapshot.output_bytes.tolist() == [2e6, 0.0]
    assert hand.snapshot.transfer_s.tolist() == [[0.0, 0.0], [0.0, 0.0]]
    hand.plan((first("w"),), ())
    hand.loaded(hand.one(Load))
    hand.finished(hand.one(Call))
    hand.expand()
    assert hand.snapshot.transfer_s.tolist() == [[0.0, 2.5]]
    assert link_table(on)[0, 1].tolist() == [0.5, 1e-6]


def test_a_lost_device_offers_nothing() -> None:
    """Its slots are never free, it is nowhere eligible."""
    hand = ByHand(cluster(slots=2))
    hand.submit(chain("w", "A"))
    hand.plan((), ())
    hand.send(DeviceLost(device="d1", reason="killed"))
    hand.submit(chain("v", "A"))
    if hand.core.planning:
        hand.plan((), ())
    hand.submit(chain("u", "A"))
    snapshot = hand.snapshot
    assert np.isinf(snapshot.free_at_s[1]).all()
    assert snapshot.eligible[:, 1].tolist() == [0] * len(snapshot.node_names)


def test_narrow_devices_have_fewer_slots() -> None:
    """Beside a device of two slots and four sequences, one of one and two."""
    base = cluster(slots=2)
    narrow = replace(base.devices[1], slots=1, sequences=2)
    hand = ByHand(replace(base, devices=(base.devices[0], narrow)))
    hand.submit(chain("w", "A"))
    assert hand.snapshot.free_at_s[1].tolist() == [hand.snapshot.now_s, float("inf")]
    assert hand.snapshot.content[1, 0].tolist() == [-1, -1, -2, -2]
