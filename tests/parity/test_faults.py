"""Under one fault plan the simulator and the runtime on fake engines take the same decisions."""

import asyncio
from typing import TYPE_CHECKING, cast

import pytest
from msgspec.structs import replace
from tests.declared import Bench
from tests.graphs import cluster, mixed, profile

from fate.core.options import SchedulerOptions
from fate.domain.faults import Fault
from fate.domain.messages import DeviceLost, Drained, Failed, Record
from fate.drivers.faulty import simulate_faults
from fate.drivers.replay import replay
from fate.drivers.setup import Setup
from fate.drivers.world import Truth
from fate.registry import build

if TYPE_CHECKING:
    from fate.policy.base import Policy

PLANS: dict[str, tuple[Fault, ...]] = {
    "kill": (Fault(kind="kill", device="d0", at_s=1.3),),
    "kill-on-call": (Fault(kind="kill", device="d1", activity="call", count=3, for_s=2.5),),
    "kill-on-load": (Fault(kind="kill", device="d0", activity="load", count=2),),
    "stop": (Fault(kind="stop", device="d0", at_s=1.3),),
    "stop-a-moment": (Fault(kind="stop", device="d0", at_s=1.3, for_s=1.0),),
    "slow": (Fault(kind="slow", device="d1", at_s=1.3, factor=40.0),),
    "slow-a-while": (Fault(kind="slow", device="d1", at_s=1.3, for_s=2.5, factor=40.0),),
    "refuse": (Fault(kind="refuse_load", device="d0", at_s=0.0, for_s=3.0),),
    "refuse-one": (Fault(kind="refuse_load", device="d0", activity="load", count=1),),
    "corrupt": (Fault(kind="corrupt", device="d0", at_s=1.0, for_s=2.0),),
    "corrupt-one": (Fault(kind="corrupt", device="d1", activity="call", count=2),),
    "disk": (Fault(kind="disk_full", at_s=1.0, for_s=1.0),),
    "disk-on-call": (Fault(kind="disk_full", device="d1", activity="call", count=3, for_s=1.0),),
    "several": (
        Fault(kind="kill", device="d0", at_s=1.3),
        Fault(kind="slow", device="d1", at_s=1.7, for_s=3.0, factor=3.0),
        Fault(kind="corrupt", device="d0", at_s=4.0, for_s=1.0),
    ),
}


def make() -> Setup:
    """Two devices with measured costs, items one by one, so that nothing is half corrupt."""
    on = cluster(devices=2, memory_mib=100)
    return Setup(
        cluster=on,
        profile=replace(profile(on), source="declared"),
        policy=cast("Policy", build("policy", "late-eft")),
        options=SchedulerOptions(chunk_s=0.0, max_attempts=9, cool_down_s=1.0),
        seed=7,
    )


def seen(records: tuple[Record, ...]) -> set[type]:
    """Return the kinds of what happened."""
    events = {type(event) for record in records for event in record.events}
    return events | {type(command) for record in records for command in record.commands}


@pytest.mark.parametrize("name", PLANS)
def test_simulator_and_runtime_agree_under_faults(name: str) -> None:
    """Record for record, to the last bit; everything is finished all the same."""
    setup, faults = make(), PLANS[name]
    truth = Truth(profile=setup.profile, noise=0.1)
    simulated = simulate_faults([(0.0, graph) for graph in mixed()], setup, faults, truth)
    assert simulated.status == "ok"
    bench = Bench(setup, mixed(), truth, faults=faults)
    outcome = asyncio.run(bench.run())
    for number, pair in enumerate(zip(bench.log.records, simulated.records, strict=False)):
        assert pair[0] == pair[1], f"record {number}"
    assert len(bench.log.records) == len(simulated.records)
    assert outcome.makespan_s == simulated.makespan_s
    replay(bench.log.records, setup)


EFFECTS: dict[str, type] = {
    "kill": DeviceLost,
    "stop": DeviceLost,
    "slow": Drained,
    "refuse": Failed,
    "corrupt": Failed,
    "disk": Failed,
    "refuse-one": Failed,
    "corrupt-one": Failed,
    "disk-on-call": Failed,
}


@pytest.mark.parametrize(("name", "kind"), EFFECTS.items())
def test_plans_have_the_effect_they_are_named_after(name: str, kind: type) -> None:
    """Else agreeing on them would prove nothing."""
    setup = make()
    simulated = simulate_faults([(0.0, graph) for graph in mixed()], setup, PLANS[name])
    assert kind in seen(simulated.records)
