"""Slow spells of a run: found in its journal, kept out of what work costs, met again."""

import pytest
from msgspec.structs import replace
from tests.graphs import cluster, map_reduce, mixed, profile

from fate.core.options import SchedulerOptions
from fate.domain.faults import Fault
from fate.domain.messages import DeviceLost, Drained, Record, Resumed
from fate.drivers.faulty import simulate_faults
from fate.drivers.recorded import learned, recording, resimulate
from fate.drivers.setup import Outcome, Setup
from fate.drivers.simulate import simulate
from fate.drivers.slow import Spell, during, slow_faults, slow_spells
from fate.policy.baselines.greedy import LateEft


def setup() -> Setup:
    """Two devices whose costs are declared: what is slow is found out at once."""
    of = cluster()
    known = replace(profile(of), source="declared")
    options = SchedulerOptions(chunk_s=0)
    return Setup(cluster=of, profile=known, policy=LateEft(), options=options)


def slowed(factor: float, at_s: float, for_s: float | None = None) -> Outcome:
    """A run in which the second device is slow for some time."""
    graphs = [*mixed(), *[map_reduce(f"more{n}", items=12) for n in range(3)]]
    fault = Fault(kind="slow", device="d1", at_s=at_s, factor=factor, for_s=for_s)
    return simulate_faults([(0.0, graph) for graph in graphs], setup(), (fault,))


def drains(records: tuple[Record, ...]) -> set[str]:
    """Return the devices that were drained for being slow."""
    commands = [c for r in records for c in r.commands if isinstance(c, Drained)]
    return {c.device for c in commands if c.reason.startswith("slow: ")}


@pytest.mark.parametrize(
    ("run", "begin_s", "factor"),
    [(slowed(15.0, 0.5), 0.5, 15.0), (slowed(40.0, 1.3), 1.3, 40.0)],
    ids=["items take too long", "a call is cut off"],
)
def test_a_slow_device_is_slow_again(run: Outcome, begin_s: float, factor: float) -> None:
    """From the work that gave it away on, at least by what that shows; to the end."""
    (spell,) = slow_spells(run.records)
    assert (spell.device, spell.until_s) == ("d1", float("inf"))
    assert begin_s - 0.5 < spell.begin_s < begin_s + 0.5
    truth = learned(run.records, setup().cluster, setup().profile)
    (fault,) = slow_faults(run.records, truth)
    assert 5.0 < fault.factor <= 1.01 * factor
    assert (fault.kind, fault.device, fault.at_s) == ("slow", "d1", spell.begin_s)
    work = recording(run.records)
    without = resimulate(work, setup(), truth)
    assert not drains(without.records)
    work.mishaps.slow.append(fault)
    again = resimulate(work, setup(), truth)
    assert again.status == "ok" and drains(again.records) == {"d1"}
    off_s = [abs(each.makespan_s - run.makespan_s) for each in (again, without)]
    assert off_s[0] < off_s[1]
    assert work.mishaps.on(["d0"]) == ()


def test_what_a_slow_device_did_is_no_part_of_what_work_costs() -> None:
    """Work costs what it costs where nothing is slow."""
    records = slowed(15.0, 0.5).records
    truth = learned(records, setup().cluster, setup().profile)
    for device, row in setup().profile.costs.items():
        for model, costs in row.items():
            assert truth.costs[device][model].decode == pytest.approx(costs.decode)
            assert truth.costs[device][model].load_s == pytest.approx(costs.load_s)


def test_a_spell_ends_where_a_trial_begins_that_goes_well() -> None:
    """It had been slow for six seconds; found out that is when it was tried again."""
    (spell,) = slow_spells(slowed(40.0, 1.3, for_s=6.0).records)
    assert 7.3 <= spell.until_s < 17.0


def test_a_spell_ends_with_the_device_or_with_the_process() -> None:
    """Whatever comes back is another one."""
    first = slowed(15.0, 0.5).records
    at = next(n for n, r in enumerate(first) if any(isinstance(c, Drained) for c in r.commands))
    begun, now_s = first[: at + 1], first[at].at_s
    gone = Record(at_s=now_s + 1.0, events=(DeviceLost(device="d1", reason="x"),))
    (spell,) = slow_spells([*begun, gone])
    assert spell.until_s == now_s + 1.0
    (spell,) = slow_spells([*begun, Record(at_s=now_s + 9.0, events=(Resumed(),))])
    assert spell.until_s == now_s


def test_a_run_without_slow_devices_has_no_spells() -> None:
    """Most have none."""
    records = simulate([(0.0, graph) for graph in mixed()], setup()).records
    assert slow_spells(records) == [] and slow_faults(records, setup().profile) == []


def test_a_device_was_slow_during_what_overlaps_a_spell() -> None:
    """Of its own only."""
    found = [Spell("d0", 1.0, 2.0)]
    for begin_s, end_s, slow in ((0.0, 1.0, False), (0.0, 1.5, True), (2.0, 3.0, False)):
        assert during(found, "d0", begin_s, end_s) is slow
    assert not during(found, "d1", 0.0, 9.0)
