"""How maps are cut, what prompts and ranks are, and long ways through the core by hand."""

import pytest
from msgspec.structs import replace
from tests.by_hand import ByHand
from tests.graphs import chain, cluster, map_reduce

from fate.domain.graph import ITEM, Chunk, Graph, Segment, Stage, item_key
from fate.domain.messages import (
    Call,
    Done,
    Failed,
    ItemDone,
    Load,
    RunTool,
    WorkflowEnded,
)


def a_map(items: int, model: str = "A") -> Graph:
    """A map alone."""
    prompt = (Segment("system", 200), Segment(f"{ITEM}w", 120))
    stage = Stage(
        id="m",
        kind="llm",
        model=model,
        prompt=prompt,
        output_tokens=32,
        max_tokens=32,
        mapped=True,
        items=items,
    )
    return Graph(id="w", stages=(stage,))


def test_a_failed_tool_is_tried_again_on_the_host() -> None:
    """Tools have no device to avoid; the reason names the tool alone."""
    hand = ByHand(max_attempts=2)
    hand.submit(Graph(id="w", stages=(Stage(id="t", kind="tool"),)))
    hand.send(Failed(activity=hand.one(RunTool).activity, reason="busy"))
    hand.send(Failed(activity=hand.one(RunTool).activity, reason="busy"))
    assert hand.one(WorkflowEnded).reason == "w/t: tool failed (attempt 2 of 2): busy"


def test_a_map_is_cut_for_two_devices() -> None:
    """Little work is still cut in two, so that both devices of a shard set have something."""
    hand = ByHand(chunk_s=60.0)
    hand.submit(a_map(9))
    assert [(c.start, c.stop) for c in hand.snapshot.chunks] == [(0, 5), (5, 9)]


def test_a_map_is_cut_into_pieces_of_about_chunk_s() -> None:
    """An item takes 0.002 + 320/2500 + 32/460 = 0.1996 s: five to a second, and a bit."""
    hand = ByHand(chunk_s=1.0)
    hand.submit(a_map(23))
    assert [c.stop - c.start for c in hand.snapshot.chunks] == [5, 5, 5, 5, 3]


def test_chunks_do_not_depend_on_devices_that_cannot_help() -> None:
    """What an item takes is the mean over the devices that can run it, however many there are."""
    base = cluster()
    on = replace(base, devices=(base.devices[0], replace(base.devices[1], models=("B", "C"))))
    hand = ByHand(on, chunk_s=1.0)
    hand.submit(a_map(23))
    assert [c.stop - c.start for c in hand.snapshot.chunks] == [5, 5, 5, 5, 3]


def test_every_item_on_its_own() -> None:
    """`chunk_s` 0 dispatches single items."""
    hand = ByHand(chunk_s=0.0)
    hand.submit(a_map(4))
    assert hand.snapshot.chunks == tuple(Chunk("w/m", i, i + 1) for i in range(4))


def test_a_map_of_ten_thousand_items() -> None:
    """The frontier stays bounded and everything gets done, each item once."""
    hand = ByHand(cluster(devices=2), chunk_s=60.0)
    hand.submit(a_map(10_000))
    assert hand.snapshot.ready_total > 30
    assert hand.snapshot.frontier == 32
    items = 0
    while not hand.core.finished:
        if hand.core.planning:
            order = hand.snapshot.chunks
            hand.plan(order[:1], order[1:2])
        for load in hand.all(Load):
            hand.loaded(load)
        for running in list(hand.core.fleet.chains):
            chunk, activity = running.chunk, running.activity
            assert chunk is not None
            assert activity is not None
            done = [ItemDone(activity=activity, item=i) for i in range(chunk.start, chunk.stop)]
            items += len(done)
            hand.core.handle([*done, Done(activity=activity)], hand.now_s)
            hand.send()
    assert items == 10_000


def test_a_prompt_and_what_it_leaves_behind() -> None:
    """Item 3's answer ends what the last call of a chunk leaves in its cache slot."""
    hand = ByHand(cluster(devices=1))
    hand.submit(a_map(4))
    ready = hand.core.lifecycle.pool.get(Chunk("w/m", 0, 4))
    assert ready is not None
    assert [s.key for s in ready.work.path] == ["system", f"{ITEM}w#0"]
    assert [s.key for s in ready.work.left] == ["system", f"{ITEM}w#3", item_key("w/m", 3)]
    assert (ready.work.first_tokens, ready.work.rest_tokens) == (320.0, 360.0)
    assert (ready.work.head_tokens, ready.work.rest_items) == (200.0, 3.0)
    assert ready.work.output_tokens == 128.0


def test_ranks_add_up_along_the_longest_path() -> None:
    """A chain's first stage has the seconds of the others below it."""
    hand = ByHand()
    hand.submit(chain("w", "ABC"))
    own = [hand.core.lifecycle.instances[f"w/s{k}"].own_s for k in range(3)]
    tails = [hand.core.lifecycle.instances[f"w/s{k}"].tail_s for k in range(3)]
    assert own[0] == pytest.approx(0.002 + 310 / 2500 + 32 / 460)
    assert tails == pytest.approx([own[1] + own[2], own[2], 0.0])


def test_critics_follow_a_map_behind_a_tool() -> None:
    """The whole of a map-reduce by hand, from the split to the join."""
    hand = ByHand(cluster(devices=1, memory_mib=200))
    graph = map_reduce("w", items=2)
    hand.submit(graph)
    hand.finished(hand.one(RunTool))
    hand.expand()
    order: list[str] = []
    while not hand.core.finished:
        if hand.core.planning:
            hand.plan(hand.snapshot.chunks)
        for load in hand.all(Load):
            hand.loaded(load)
        for call in hand.all(Call):
            order.append(str(call.chunk))
            hand.finished(call)
            hand.expand()
    assert order == ["w/notes[0:2]", "w/critic0", "w/critic1", "w/final"]
