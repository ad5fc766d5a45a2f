"""What another process goes on with: replayed runs, runs that begin afresh, tools that may not."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from msgspec.structs import replace
from tests.crashes import KilledError, Story
from tests.declared import Bench
from tests.graphs import chain, cluster, map_reduce, profile

from fate.core.options import SchedulerOptions
from fate.domain.errors import FateError, ReplayError
from fate.domain.graph import Graph, Segment, Stage
from fate.domain.messages import (
    Call,
    CancelAll,
    Dropped,
    Expand,
    ItemDone,
    Record,
    Resumed,
    Reuse,
    RunTool,
    WakeAt,
    Woke,
)
from fate.drivers.recover import stands
from fate.drivers.replay import decisions, replay
from fate.drivers.setup import Setup
from fate.drivers.survey import survey
from fate.drivers.world import Truth
from fate.policy.baselines.greedy import LateEft
from fate.view.fold import fold

WORK = (map_reduce("m0", items=3), chain("x0", "ABC"))


def setup(**options: Any) -> Setup:
    """Two devices under late-eft."""
    on = cluster()
    return Setup(
        cluster=on,
        profile=profile(on),
        policy=LateEft(),
        options=SchedulerOptions(chunk_s=0.3, **options),
    )


def story(work: Sequence[Graph] = WORK, **options: Any) -> Story:
    """Return a run to be told."""
    return Story(setup(**options), work)


def of_type(records: Sequence[Record], kind: type) -> list[Any]:
    """Return the events and commands of a kind, in order."""
    both = [message for r in records for message in (*r.events, *r.commands)]
    return [message for message in both if isinstance(message, kind)]


def interrupt(at: int) -> Story:
    """Return a run that was ended by Ctrl-C after so many records."""
    told = story()

    def watch(bench: Bench, record: Record) -> None:
        if len(told.disk.records) == at:
            bench.runtime.stop("cancelled by the user")

    told.watch = watch
    assert told.live().status == "cancelled"
    told.watch = lambda bench, record: None
    return told


# --- replayed --------------------------------------------------------------------------------


def test_the_clock_goes_on_and_time_in_between_does_not_count() -> None:
    """The first record of the next process is no earlier than the last one, and says Resumed."""
    told = story()
    told.through([40])
    first = next(n for n, r in enumerate(told.disk.records) if of_type([r], Resumed))
    before, after = told.disk.records[first - 1 : first + 1]
    assert after.at_s == before.at_s
    assert survey(told.disk.records).open == []


def test_what_ran_is_not_charged() -> None:
    """One attempt per item is allowed, and five crashes do not use it up."""
    told = story(max_attempts=1)
    assert told.through([20, 20, 20, 20, 20]).status == "ok"


def test_questions_without_an_answer_are_asked_again() -> None:
    """An expansion that was asked for with the last durable record."""
    told = story()
    whole = story()
    whole.live()
    cut = next(n for n, r in enumerate(whole.disk.records) if n > 3 and of_type([r], Expand))
    told.disk.records = whole.disk.records[: cut + 1]
    asked = survey(told.disk.records).unanswered
    assert asked
    left = told.left()
    assert [c.instance for c in left.again if isinstance(c, Expand)] == list(asked)


def test_alarms_that_have_not_rung_are_set_again() -> None:
    """The bound on waiting holds over a crash."""
    told = story(max_wait_s={"default": 0.9})
    told.disk.restart(30)
    with pytest.raises(KilledError):
        told.live()
    told.disk.restart()
    left = told.left()
    due = {c.at_s for c in left.again if isinstance(c, WakeAt)}
    set_at = {c.at_s for c in of_type(told.disk.records, WakeAt)}
    rung = {e.at_s for e in of_type(told.disk.records, Woke)}
    assert due == set_at - rung != set()
    assert told.live(left).status == "ok"


def test_a_log_that_does_not_replay_is_refused_and_there_is_a_way_out() -> None:
    """Another version of the core would answer otherwise; what is finished is kept all the same."""
    told = story()
    told.disk.restart(60)
    with pytest.raises(KilledError):
        told.live()
    told.disk.restart()
    at = next(n for n, r in enumerate(told.disk.records) if of_type([r], Call))
    other = [
        replace(c, sequence=9) if isinstance(c, Call) else c for c in told.disk.records[at].commands
    ]
    told.disk.records[at] = replace(told.disk.records[at], commands=tuple(other))
    with pytest.raises(ReplayError, match="`fate resume --afresh`"):
        told.left()
    done = dict(told.disk.durable)
    assert told.live(told.left(afresh=True)).status == "ok"
    whole = story()
    whole.live()
    assert told.disk.texts == whole.disk.texts
    assert done and done.items() <= told.disk.texts.items()


def borrowed_and_given_up() -> Story:
    """Calls that ask the same as one before, and a map of tools of which one item fails."""
    shared = (Segment("shared", 40), Segment("ask", 20))
    first = Stage(
        id="first", kind="llm", model="A", prompt=shared, output_tokens=20.0, max_tokens=20
    )
    later = [replace(first, id=f"later{n}", parents=("first", "tools")) for n in range(3)]
    tools = Stage(id="tools", kind="tool", mapped=True, items=4, tool_s=0.1, on_error="default")
    graph = Graph(id="w", stages=(first, tools, *later))
    own = setup(max_attempts=1)
    told = Story(own, [graph], truth=Truth(profile=own.profile, reuse=True))

    async def broken(function: Any, instance: str, item: int) -> str:
        if item == 2:
            raise FateError("no such tool today")
        return function(instance, item)

    def prepare(bench: Bench) -> None:
        bench.tool = broken

    told.prepare = prepare
    return told


def test_texts_that_are_stored_after_their_record_survive_every_crash() -> None:
    """A twin's text and a default are written once the record is durable, or after the crash."""
    whole = borrowed_and_given_up()
    assert whole.live().status == "ok"
    reused, dropped = (of_type(whole.disk.records, kind) for kind in (Reuse, Dropped))
    assert len(reused) == 3 and len(dropped) == 1
    copied = {(c.instance, c.item): whole.disk.durable["w/first", 0] for c in reused}
    assert copied.items() <= whole.disk.durable.items()
    assert whole.disk.durable["w/tools", 2] == "nothing for w/tools[2]"
    lost = 0
    for kill_at in range(whole.disk.operations):
        told = borrowed_and_given_up()
        told.disk.restart(kill_at)
        with pytest.raises(KilledError):
            told.live()
        told.disk.restart()
        left = told.left()
        lost += any(isinstance(c, Reuse | Dropped) for c in left.again)
        assert told.live(left).status == "ok"
        assert told.disk.durable == whole.disk.durable
    assert lost > 0, "no crash came between a record and the texts that follow it"


# --- afresh ----------------------------------------------------------------------------------


@pytest.mark.parametrize("at", [1, 4, 9, 15, 22, 30])
def test_a_cancelled_run_goes_on(at: int) -> None:
    """What was finished before and while it was stopping is kept; the rest runs."""
    told = interrupt(at)
    assert stands(told.disk.records, ["m0", "x0"]) == (False, True)
    kept = _done(told.disk.records)
    assert told.live(told.left()).status == "ok"
    whole = story()
    whole.live()
    assert told.disk.texts == whole.disk.texts
    audit = told.audit()
    assert set(audit.done.values()) == {1} and kept <= audit.done.keys()
    assert replay(told.disk.records, told.setup).finished


def _done(records: Sequence[Record]) -> set[tuple[str, int]]:
    return {(name, item) for name, items in survey(records).finished.items() for item in items}


def test_numbers_of_activities_and_plans_go_on_in_a_new_core() -> None:
    """They are never used twice within a run, and explanations tell the decisions apart."""
    told = interrupt(15)
    told.live(told.left())
    versions = [d.snapshot.version for d in decisions(told.disk.records, told.setup)]
    assert versions == sorted(set(versions))


def test_a_killed_run_that_was_cancelled_and_killed_again_goes_on() -> None:
    """Afresh, then a crash while that goes on: the second recovery replays both parts."""
    told = interrupt(15)
    told.disk.commit()
    left = told.left()
    told.disk.kill_at, told.disk.operations = 12, 0
    with pytest.raises(KilledError):
        told.live(left)
    told.disk.restart()
    assert stands(told.disk.records, ["m0", "x0"])[0]
    assert told.live(told.left()).status == "ok"
    assert set(told.audit().done.values()) == {1}


def test_failed_items_are_tried_again() -> None:
    """A workflow that failed begins afresh with a full set of attempts; the other one is over."""
    told = story()

    async def broken(function: Any, instance: str, item: int) -> str:
        raise FateError("no such tool today")

    def prepare(bench: Bench) -> None:
        bench.tool = broken

    told.prepare = prepare
    outcome = told.live()
    assert {name: end.status for name, end in outcome.ended.items()} == {"m0": "failed", "x0": "ok"}
    told.prepare = lambda bench: None
    again = told.live(told.left())
    assert again.status == "ok" and set(again.ended) == {"m0", "x0"}
    calls = [call for call in told.audit().calls if call.chunk.instance.startswith("x0/")]
    assert len(calls) == 3


def test_views_count_both_parts_of_a_run() -> None:
    """Stages are done once, bars of both processes are there, and the interruption is counted."""
    told = interrupt(15)
    before = fold(told.setup.cluster, told.disk.records)
    told.live(told.left())
    history = fold(told.setup.cluster, told.disk.records)
    assert history.status == "ok" and history.counts.interruptions == 1
    assert len(history.bars) > len(before.bars)
    assert len(history.stages) == 8 and {s.status for s in history.stages} == {"done"}
    assert all(stage.done == stage.items for stage in history.stages)
    assert history.start_s == 0.0 and history.end_s > before.end_s


# --- tools -----------------------------------------------------------------------------------


def tools(*, pure: bool) -> tuple[Graph, ...]:
    """Three tools in a row."""
    stages = [
        Stage(id=f"t{n}", kind="tool", parents=(f"t{n - 1}",) if n else (), tool_s=1.0, pure=pure)
        for n in range(3)
    ]
    return (Graph(id="w", stages=tuple(stages)),)


def killed_in_a_tool(*, pure: bool, after: bool) -> tuple[Story, list[str]]:
    """Return a run killed while its second tool runs, or after it and before that is durable."""
    told, runs = story(tools(pure=pure)), list[str]()

    async def tool(function: Any, instance: str, item: int) -> str:
        runs.append(instance)
        if instance == "w/t1" and told.processes == 1 and not after:
            raise KilledError
        text = function(instance, item)
        if instance == "w/t1" and told.processes == 1:
            told.disk.kill_at, told.disk.operations = 0, 1
        return text

    def prepare(bench: Bench) -> None:
        bench.tool = tool

    told.prepare = prepare
    with pytest.raises(KilledError):
        told.live()
    told.disk.restart()
    return told, runs


@pytest.mark.parametrize("after", [False, True])
def test_a_tool_that_is_not_pure_never_runs_twice_silently(after: bool) -> None:
    """Whether it ran is not known: its workflow fails and says how to go on."""
    told, runs = killed_in_a_tool(pure=False, after=after)
    outcome = told.live(told.left())
    assert outcome.status == "failed"
    assert "may have run already" in outcome.ended["w"].reason
    assert "--rerun-tools" in outcome.ended["w"].reason
    assert runs == ["w/t0", "w/t1"]
    # asked again without the permission it says the same, with it the run ends well
    assert told.live(told.left()).status == "failed"
    assert told.live(told.left(rerun_tools=True)).status == "ok"
    assert runs == ["w/t0", "w/t1", "w/t1", "w/t2"]


def test_pure_tools_just_run_again() -> None:
    """Nobody is asked."""
    told, runs = killed_in_a_tool(pure=True, after=True)
    assert told.live(told.left()).status == "ok"
    assert runs == ["w/t0", "w/t1", "w/t1", "w/t2"]


def test_of_a_chunk_only_the_item_that_began_is_doubtful() -> None:
    """Items behind it have not run, items before it are done."""
    graph = Graph(
        id="w",
        stages=(Stage(id="t", kind="tool", tool_s=0.1, pure=False, mapped=True, items=8),),
    )
    whole = story([graph])
    asyncio.run(Bench(whole.setup, [graph], log=whole.disk, outputs=whole.disk).run())
    records = whole.disk.records
    assert survey(records).doubtful() == frozenset()
    done = next(n for n, r in enumerate(records) if of_type([r], ItemDone))
    chunks = [c.chunk for c in of_type(records[:done], RunTool)]
    assert all(chunk.stop - chunk.start == 2 for chunk in chunks)
    assert survey(records[:done]).doubtful() == {("w/t", c.start) for c in chunks}
    assert survey(records[: done + 1]).doubtful() == {("w/t", c.start + 1) for c in chunks}


def test_where_a_run_stands() -> None:
    """Open, never come, ended badly, ended well."""
    told = story()
    assert stands([], ["m0", "x0"]) == (True, False)
    told.live()
    assert stands(told.disk.records, ["m0", "x0"]) == (False, False)
    assert stands(told.disk.records[:-1], ["m0", "x0"])[0]
    assert stands(told.disk.records, ["m0", "x0", "late"]) == (True, False)
    cancelled = [*told.disk.records[:5], Record(at_s=9.0, events=(CancelAll(),))]
    assert stands(cancelled, ["m0", "x0"])[0]
