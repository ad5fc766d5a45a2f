"""Replays: logs that lead to their decisions, logs that do not, decisions taken anew."""

import dataclasses
from copy import deepcopy
from typing import TYPE_CHECKING, cast

import numpy as np
import pytest
from msgspec.structs import replace
from tests.graphs import chain, cluster, map_reduce, mixed, profile

from fate.core.options import SchedulerOptions
from fate.domain.errors import ReplayError
from fate.domain.faults import Fault
from fate.domain.messages import (
    CancelAll,
    Cancelled,
    DeviceLost,
    Done,
    Drained,
    Event,
    Expanded,
    ItemDone,
    Load,
    PlanLate,
    Planned,
    Record,
    RequestPlan,
    Resumed,
    Submitted,
    Woke,
)
from fate.domain.plan import Plan
from fate.domain.snapshot import Snapshot
from fate.drivers.faulty import simulate_faults
from fate.drivers.replay import decisions, replan, replay
from fate.drivers.setup import Outcome, Setup, in_order
from fate.drivers.simulate import simulate
from fate.registry import build

if TYPE_CHECKING:
    from fate.policy.base import Policy


def setup_of(policy: str = "late-eft", seed: int = 3) -> Setup:
    """Two devices."""
    on = cluster()
    named = cast("Policy", build("policy", policy))
    return Setup(cluster=on, profile=profile(on), policy=named, seed=seed)


def log_of(setup: Setup) -> list[Record]:
    """Return the log of the usual graphs."""
    return list(simulate([(0.0, graph) for graph in mixed()], setup).records)


def test_a_replay_never_asks_the_policy() -> None:
    """Recorded plans count, whoever replays them."""
    records = log_of(setup_of("fate"))
    assert replay(records, setup_of("round-robin-idle")).finished


@pytest.mark.parametrize("policy", ["fate", "foresight", "heft", "late-eft"])
def test_a_replay_leaves_behind_what_pictures_would(policy: str) -> None:
    """It makes none, but the core's next one is the same to the last bit, wherever it stops."""
    setup = setup_of(policy)
    graphs = [*mixed(), *[map_reduce(f"more{n}", items=5) for n in range(2)]]
    records = simulate([(float(n), graph) for n, graph in enumerate(graphs)], setup).records
    whole = setup.scheduler()
    for stop, record in enumerate(records[: len(records) // 2], 1):
        whole.handle(record.events, record.at_s)
        if stop % 5:
            continue
        pictures = [
            [c.snapshot for c in core.handle([Resumed()], record.at_s) if type(c) is RequestPlan]
            for core in (replay(records[:stop], setup), deepcopy(whole))
        ]
        assert len(pictures[0]) == len(pictures[1])
        for left, right in zip(*pictures, strict=True):
            for field in dataclasses.fields(Snapshot):
                mine, other = getattr(left, field.name), getattr(right, field.name)
                assert np.array_equal(mine, other), field.name


def test_part_of_a_log_leads_to_the_middle() -> None:
    """The core can go on from there."""
    records = log_of(setup_of())
    core = replay(records[: len(records) // 2], setup_of())
    assert not core.finished


def test_a_log_that_was_changed_is_refused() -> None:
    """With the number of the record, its time, and both versions."""
    records = log_of(setup_of())
    at = next(i for i, r in enumerate(records) if any(isinstance(c, Load) for c in r.commands))
    load = next(c for c in records[at].commands if isinstance(c, Load))
    records[at] = replace(records[at], commands=(replace(load, model="C"),))
    with pytest.raises(
        ReplayError, match=rf"record {at} at 0\.\d+ s: .*model='C'.*the core answers"
    ):
        replay(records, setup_of())


def test_every_plan_is_a_decision() -> None:
    """With the snapshot it was made from, and what was started of it."""
    setup = setup_of()
    records = log_of(setup)
    found = list(decisions(records, setup))
    plans = [e for r in records for e in r.events if isinstance(e, Planned)]
    assert [decision.plan for decision in found] == [event.plan for event in plans]
    started = [chunk for decision in found for chunk in decision.started]
    assert len(set(started)) == len(started)
    assert all(set(decision.started) <= set(decision.snapshot.chunks) for decision in found)
    first = found[0]
    assert first.started == tuple(order[0] for order in first.plan.orders if order)


def test_a_decision_knows_which_devices_are_put_aside() -> None:
    """A snapshot says only that they cannot take anything."""
    setup = setup_of()
    setup = dataclasses.replace(
        setup,
        profile=replace(setup.profile, source="declared"),
        options=SchedulerOptions(chunk_s=0),
    )
    slow = Fault(kind="slow", device="d1", at_s=1.3, factor=40.0)
    records = simulate_faults([(0.0, graph) for graph in mixed()], setup, (slow,)).records
    assert any(isinstance(c, Drained) for r in records for c in r.commands)
    aside = [decision.drained for decision in decisions(records, setup)]
    assert aside[0] == {} and any(each.keys() == {1} for each in aside)
    reasons = {drained.reason for each in aside for drained in each.values()}
    assert all(reason.startswith("slow: ") for reason in reasons)


@pytest.mark.parametrize("policy", ["fate", "least-loaded", "heft"])
def test_the_same_policy_decides_the_same_anew(policy: str) -> None:
    """A plan depends on the snapshot and the memo, on nothing else."""
    setup = setup_of(policy)
    for decision, plan in replan(log_of(setup), setup):
        assert plan == decision.plan


def test_another_policy_can_be_asked() -> None:
    """What it would have done from the same pictures."""
    records = log_of(setup_of("round-robin-idle"))
    anew = [plan for _, plan in replan(records, setup_of("fate"))]
    assert any(plan is not None and plan.policy == "fate" for plan in anew)


def test_a_batch_has_one_order() -> None:
    """However a driver collected it; items stay before the end of their activity."""
    graph = chain("w", "A")
    batch: list[Event] = [
        Woke(at_s=1.0),
        Planned(version=1, plan=Plan(policy="x", orders=())),
        CancelAll(),
        DeviceLost(device="d0", reason="x"),
        ItemDone(activity=2, item=0),
        Done(activity=2),
        Cancelled(activity=1),
        Expanded(instance="w/s0"),
        Submitted(graph=graph),
        PlanLate(version=1),
    ]
    names = [type(event).__name__ for event in in_order(batch)]
    assert names == [
        "Submitted", "Expanded", "Cancelled", "ItemDone", "Done", "CancelAll", "DeviceLost",
        "Woke", "Planned", "PlanLate",
    ]  # fmt: skip


def test_an_outcome_is_as_good_as_its_worst_workflow() -> None:
    """Failed outweighs cancelled, cancelled outweighs ok."""
    outcome = simulate([(0.0, chain("w", "A"))], setup_of())
    end = outcome.ended["w"]
    ends = {"a": end, "b": replace(end, status="cancelled"), "c": replace(end, status="failed")}
    for names, status in (("a", "ok"), ("ab", "cancelled"), ("abc", "failed"), ("", "ok")):
        some = {name: ends[name] for name in names}
        assert Outcome(makespan_s=0.0, records=(), ended=some).status == status
