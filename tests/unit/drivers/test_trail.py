"""Decisions recomputed for a timeline."""

import msgspec
import pytest
from tests.graphs import chain, cluster, profile

from fate.domain.messages import Planned, Record
from fate.drivers import trail as module
from fate.drivers.setup import Outcome, Setup
from fate.drivers.simulate import simulate
from fate.drivers.trail import trail
from fate.policy.fate.policy import FatePolicy
from fate.view.fold import fold
from fate.view.history import History


@pytest.fixture(scope="module")
def setup() -> Setup:
    """Two devices under the policy whose decisions have regret."""
    return Setup(cluster=cluster(), profile=profile(cluster()), policy=FatePolicy())


@pytest.fixture(scope="module")
def outcome(setup: Setup) -> Outcome:
    """Three chains that compete."""
    return simulate([(0.0, chain(f"w{n}", "ABAB"[n:] + "AB")) for n in range(3)], setup)


@pytest.fixture(scope="module")
def history(setup: Setup, outcome: Outcome) -> History:
    """What happened."""
    return fold(setup.cluster, outcome.records)


def test_what_a_plan_expected_is_what_happens_where_nothing_is_drawn(
    setup: Setup, outcome: Outcome, history: History
) -> None:
    """Without noise a call ends when the plan that started it said, on the device it said."""
    found = trail(outcome.records, setup, history)
    planned = [n for n, bar in enumerate(history.bars) if bar.kind == "call" and bar.plan >= 0]
    assert sorted(found.expected) == planned
    for number, expected in found.expected.items():
        bar = history.bars[number]
        assert expected.device == bar.device
        assert expected.end_s == pytest.approx(bar.end_s, abs=0.05)


def test_every_planned_call_has_its_table(setup: Setup, outcome: Outcome, history: History) -> None:
    """The decision is about the bar, and chose its device."""
    found = trail(outcome.records, setup, history)
    assert found.tables.keys() == found.expected.keys()
    assert not found.note
    for number, table in found.tables.items():
        bar = history.bars[number]
        assert (table.decision.chosen, table.decision.version) == (bar.device, bar.plan)
        assert table.decision.chunk == bar.instance
    assert any(table.held for table in found.tables.values())


def test_a_large_run_has_tables_of_what_mattered(
    setup: Setup, outcome: Outcome, history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No more than allowed, and the note says how many of how many."""
    monkeypatch.setattr(module, "TABLE_ROWS", 4 * len(setup.cluster.devices))
    found = trail(outcome.records, setup, history)
    assert len(found.tables) == 4
    assert f"4 of {len(found.expected)} planned calls" in found.note


def test_of_a_long_run_the_first_plans_are_recomputed(
    setup: Setup, outcome: Outcome, history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The replay stops there: what a page costs does not grow with the run. A note says so."""
    whole, most = trail(outcome.records, setup, history), len(history.plans) // 2
    monkeypatch.setattr(module, "MOST_PLANS", most)
    found = trail(outcome.records, setup, history)
    last = history.plans[most - 1]
    first = {n: table for n, table in whole.tables.items() if history.bars[n].plan <= last.version}
    assert found.tables == first and 0 < len(first) < len(whole.tables)
    assert f"The first {most} of {len(history.plans)} plans are recomputed" in found.note
    assert f"up to {last.at_s:.1f} s" in found.note


def test_of_a_run_with_long_lists_fewer_plans_are_recomputed(
    setup: Setup, outcome: Outcome, history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plan costs what it lists: the first ones that list so many chunks together are taken."""
    plans = [
        event.plan
        for record in outcome.records
        for event in record.events
        if isinstance(event, Planned)
    ]
    listed = [sum(map(len, plan.orders)) for plan in plans]
    monkeypatch.setattr(module, "MOST_LISTED", sum(listed[:3]))
    found = trail(outcome.records, setup, history)
    assert f"The first 3 of {len(plans)} plans are recomputed" in found.note
    monkeypatch.setattr(module, "MOST_LISTED", 0)
    assert f"The first 1 of {len(plans)}" in trail(outcome.records, setup, history).note


def test_a_journal_the_core_does_not_follow_is_a_note(
    setup: Setup, outcome: Outcome, history: History
) -> None:
    """What was found until there stays; the page is written all the same."""
    records = list(outcome.records)
    place = len(records) // 2
    records[place] = msgspec.structs.replace(records[place], commands=())
    changed = next(n for n in range(place, len(records)) if outcome.records[n].commands)
    records[changed] = Record(at_s=records[changed].at_s, events=records[changed].events)
    found = trail(records, setup, history)
    assert "Decisions can be recomputed up to a point only" in found.note
    assert 0 < len(found.tables) < len(trail(outcome.records, setup, history).tables)
