"""What a decision log is folded into."""

from collections.abc import Callable

import msgspec
import pytest
from tests.graphs import cluster as make_cluster
from tests.graphs import mixed
from tests.graphs import profile as make_profile

from fate.domain import messages as m
from fate.domain.catalog import Cluster
from fate.domain.graph import Chunk
from fate.drivers.setup import Outcome, Setup
from fate.drivers.simulate import PLANNING_S, simulate
from fate.registry import build
from fate.view.fold import fold
from fate.view.history import OVERDUE, Part, RunFacts


def test_bars_have_their_time_device_items_and_tokens(
    cluster: Cluster, records: list[m.Record]
) -> None:
    """Every activity becomes one bar."""
    bars = fold(cluster, records).bars
    assert [(b.kind, b.device, b.instance, b.start_s, b.end_s) for b in bars] == [
        ("load", "d0", "w/notes", 0.5, 1.5),
        ("call", "d0", "w/notes", 1.5, 5.5),
        ("load", "d1", "w/draft", 5.6, 7.6),
        ("call", "d1", "w/draft", 7.6, 9.6),
        ("tool", "host", "w/join", 9.6, 10.0),
    ]
    call = bars[1]
    assert (call.start, call.stop, call.attempt, call.plan) == (0, 2, 1, 1)
    assert (call.prompt_tokens, call.cached_tokens, call.output_tokens) == (200, 60, 40)


def test_a_call_is_divided_as_its_items_report(cluster: Cluster, records: list[m.Record]) -> None:
    """Prefill and decode alternate, item by item, and fill the bar."""
    parts = fold(cluster, records).bars[1].parts
    assert [part.kind for part in parts] == ["prefill", "decode"] * 2
    assert [part.end_s for part in parts] == pytest.approx([2.0, 3.5, 3.7, 5.5])


def test_idle_devices_say_why(cluster: Cluster, records: list[m.Record]) -> None:
    """Planning, parents, nothing left: by device and time, without gaps or overlaps."""
    idle = [(s.device, s.start_s, s.end_s, s.reason) for s in fold(cluster, records).idle]
    assert idle == [
        ("d0", 0.0, 0.5, "planning"),
        ("d0", 5.5, 5.6, "planning"),
        ("d0", 5.6, 10.0, "none"),
        ("d1", 0.0, 0.5, "planning"),
        ("d1", 0.5, 5.5, "parents"),
        ("d1", 5.5, 5.6, "planning"),
        ("d1", 9.6, 10.0, "none"),
    ]


def test_a_plan_that_leaves_work_waiting_is_the_reason(
    cluster: Cluster, records: list[m.Record]
) -> None:
    """An idle device that could run a chunk the plan gave to another one waits by plan."""
    draft = m.Planned(
        version=2,
        plan=msgspec.structs.replace(
            next(e for e in records[7].events if isinstance(e, m.Planned)).plan,
            orders=((Chunk("w/draft", 0, 1),), ()),
        ),
    )
    held = [*records[:7], m.Record(at_s=5.6, events=(draft,)), m.Record(at_s=6.0)]
    last = fold(cluster, held).idle[-1]
    assert (last.device, last.start_s, last.end_s, last.reason) == ("d1", 5.6, 6.0, "plan")


def test_stages_and_workflows_have_spans(cluster: Cluster, records: list[m.Record]) -> None:
    """A stage is ready, starts and ends; so does its workflow."""
    history = fold(cluster, records)
    notes, draft, _ = history.stages
    assert (notes.items, notes.done, notes.status) == (2, 2, "done")
    assert (notes.ready_s, notes.start_s, notes.end_s) == (0.0, 1.5, 5.5)
    assert (draft.ready_s, draft.start_s, draft.end_s) == (5.5, 7.6, 9.6)
    assert [(w.id, w.start_s, w.end_s, w.status) for w in history.workflows] == [
        ("w", 0.0, 10.0, "ok")
    ]
    assert history.status == "ok"


def test_plans_keep_their_heads_and_how_long_they_were_waited_for(
    cluster: Cluster, records: list[m.Record]
) -> None:
    """The log does not say when a plan was asked for; the fold finds out."""
    plans = fold(cluster, records).plans
    assert [(p.version, p.heads) for p in plans] == [
        (1, ("w/notes[0:2]", "")),
        (2, ("", "w/draft")),
    ]
    assert [p.waited_s for p in plans] == pytest.approx([0.5, 0.1])


def test_counts(cluster: Cluster, records: list[m.Record]) -> None:
    """Totals add up over bars."""
    counts = fold(cluster, records).counts
    assert (counts.model_loads, counts.evictions, counts.calls) == (2, 0, 2)
    assert (counts.prompt_tokens, counts.cached_tokens, counts.output_tokens) == (300, 60, 60)
    assert (counts.fallback_calls, counts.overdue_calls, counts.failed_attempts) == (0, 0, 0)


def test_a_lost_device_ends_its_bars_and_its_items_run_again(
    cluster: Cluster, records: list[m.Record]
) -> None:
    """Items reported before the loss stay done; the rest is a second attempt."""
    log = [
        *records[:5],
        m.Record(at_s=4.0, events=(m.DeviceLost(device="d0", reason="killed"),)),
        m.Record(at_s=5.0, events=(m.DeviceReady(device="d0"),)),
        m.Record(
            at_s=6.0,
            commands=(m.Call(activity=9, device="d1", model="a", chunk=Chunk("w/notes", 1, 2)),),
        ),
        m.Record(at_s=7.0),
    ]
    history = fold(cluster, log)
    lost, again = history.bars[1], history.bars[2]
    assert (lost.outcome, lost.reason, lost.end_s) == ("lost", "killed", 4.0)
    assert lost.parts[-1] == Part("decode", 3.5, 4.0)
    assert (again.attempt, again.plan, again.outcome) == (2, OVERDUE, "running")
    assert ("d0", 4.0, 5.0, "lost") in [
        (s.device, s.start_s, s.end_s, s.reason) for s in history.idle
    ]
    assert history.counts.failed_attempts == 1


def test_a_failed_workflow_says_which_stage_failed_and_what_was_skipped(
    cluster: Cluster, records: list[m.Record]
) -> None:
    """The stage that was tried has failed; those behind it are skipped."""
    log = [
        *records[:4],
        m.Record(
            at_s=2.0,
            events=(m.Failed(activity=2, reason="out of memory"),),
            commands=(m.WorkflowEnded(workflow="w", status="failed", reason="notes"),),
        ),
    ]
    history = fold(cluster, log)
    assert [s.status for s in history.stages] == ["failed", "skipped", "skipped"]
    assert history.status == "failed"
    assert history.bars[-1].outcome == "failed"


def test_an_expansion_after_its_workflow_ended_changes_nothing(
    cluster: Cluster, records: list[m.Record]
) -> None:
    """The device goes on waiting for the other workflow's stages, and says so."""
    submitted = records[0].events[0]
    assert isinstance(submitted, m.Submitted)
    other = m.Submitted(graph=msgspec.structs.replace(submitted.graph, id="v"))
    end = m.WorkflowEnded(workflow="w", status="failed", reason="x")
    log = [
        m.Record(at_s=0.0, events=(submitted, other)),
        m.Record(at_s=1.0, commands=(end,)),
        m.Record(at_s=1.0, events=(m.Expanded(instance="w/notes"),)),
        m.Record(at_s=2.0),
    ]
    history = fold(cluster, log)
    assert history.stages[0].status == "skipped"
    assert {(s.start_s, s.end_s, s.reason) for s in history.idle} == {(0.0, 2.0, "parents")}


def test_outcomes_of_unknown_activities_are_ignored(
    cluster: Cluster, records: list[m.Record]
) -> None:
    """As the core ignores outcomes of old attempts."""
    late = m.Record(at_s=10.0, events=(m.Done(activity=77), m.ItemDone(activity=77, item=0)))
    assert fold(cluster, [*records, late]) == fold(cluster, records)


def test_bars_never_overlap_within_a_row(
    run_many: Callable[[int, int], tuple[RunFacts, Outcome]],
) -> None:
    """Rows are for drawing: one bar at a time."""
    facts, outcome = run_many(6, 5)
    history = fold(facts.cluster, outcome.records)
    ends: dict[tuple[str, int], float] = {}
    for bar in history.bars:
        assert bar.start_s >= ends.get((bar.device, bar.row), 0.0)
        ends[bar.device, bar.row] = bar.end_s
    assert history.status == "ok"
    assert history.end_s == outcome.makespan_s
    assert all(bar.outcome == "done" for bar in history.bars)


@pytest.mark.parametrize("policy", ["late-eft", "halo-heuristic"])
def test_a_device_waits_for_plans_no_longer_than_they_take(policy: str) -> None:
    """Whatever is rendered in between: the next plan is asked for when there is something new."""
    on = make_cluster(devices=2, memory_mib=100)
    setup = Setup(cluster=on, profile=make_profile(on), policy=build("policy", policy))
    history = fold(on, simulate([(0.0, graph) for graph in mixed()], setup).records)
    longest_s = max(plan.waited_s for plan in history.plans)
    assert 0.0 < longest_s <= PLANNING_S * (1 + 1e-6)
    spans = [s.end_s - s.start_s for s in history.idle if s.reason == "planning"]
    assert sum(spans) <= len(history.plans) * len(on.devices) * PLANNING_S * (1 + 1e-6)
    assert any(s.reason == "plan" for s in history.idle)
