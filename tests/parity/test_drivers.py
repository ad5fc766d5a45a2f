"""Three drivers, one core: the runtime on fake engines, the simulator and a replay agree.

The decision logs are equal record for record: times to the last bit, events, commands.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, cast

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.audit import Audit
from tests.declared import Bench, Prefetching
from tests.graphs import chain, cluster, mixed, profile
from tests.random_graphs import graphs as random_graphs
from tests.random_graphs import named

from fate.core.options import SchedulerOptions
from fate.domain.graph import Stage
from fate.domain.messages import Call, ItemDone, Load, Move, Record, Woke
from fate.drivers.replay import replay
from fate.drivers.setup import Setup
from fate.drivers.simulate import simulate
from fate.drivers.world import Truth
from fate.registry import BUILTIN, build

if TYPE_CHECKING:
    from fate.policy.base import Policy


def make(policy: str, *, max_wait_s: float = 600.0, memory_mib: int = 100) -> Setup:
    """Two devices; by default with room for two models, so that prefetches happen."""
    on = cluster(devices=2, memory_mib=memory_mib)
    return Setup(
        cluster=on,
        profile=profile(on),
        policy=cast("Policy", build("policy", policy)),
        options=SchedulerOptions(max_wait_s={"default": max_wait_s}),
        seed=7,
    )


def same(left: list[Record], right: list[Record]) -> None:
    """Compare two logs; name the first record that differs."""
    for number, (one, two) in enumerate(zip(left, right, strict=False)):
        assert one == two, f"record {number}"
    assert len(left) == len(right)


@pytest.mark.parametrize("noise", [0.0, 0.3])
@pytest.mark.parametrize("policy", sorted(BUILTIN["policy"]))
def test_runtime_simulator_and_replay_agree(policy: str, noise: float) -> None:
    """Durations are noisy or as expected; what is decided and when is the same."""
    setup = make(policy)
    truth = Truth(profile=profile(setup.cluster, 1.3), noise=noise)
    simulated = simulate([(0.0, graph) for graph in mixed()], setup, truth)
    bench = Bench(setup, mixed(), truth)
    outcome = asyncio.run(bench.run())
    assert outcome.status == "ok" == simulated.status
    assert outcome.makespan_s == simulated.makespan_s
    same(bench.log.records, list(simulated.records))
    replay(bench.log.records, setup)


@pytest.mark.parametrize("policy", ["fate", "round-robin"])
def test_they_agree_where_the_bound_on_waiting_decides(policy: str) -> None:
    """Alarms ring at the same instants."""
    setup = make(policy, max_wait_s=0.7, memory_mib=70)
    simulated = simulate([(0.0, graph) for graph in mixed()], setup)
    bench = Bench(setup, mixed())
    asyncio.run(bench.run())
    assert any(isinstance(e, Woke) for record in simulated.records for e in record.events)
    same(bench.log.records, list(simulated.records))


def test_they_agree_on_loads_beside_calls() -> None:
    """Models fetched ahead come up while others answer."""
    on = cluster(devices=2, memory_mib=160)
    setup = Setup(cluster=on, profile=profile(on), policy=Prefetching(), seed=7)
    truth = Truth(profile=profile(on, 1.3), noise=0.3)
    simulated = simulate([(0.0, graph) for graph in mixed()], setup, truth)
    kinds = [{type(c) for c in r.commands} for r in simulated.records]
    assert any({Load, Call} <= found for found in kinds), "nothing was fetched ahead"
    bench = Bench(setup, mixed(), truth)
    asyncio.run(bench.run())
    same(bench.log.records, list(simulated.records))


def test_they_agree_on_what_idle_devices_load_ahead() -> None:
    """The core's own wishes; a model nobody needs any more makes room."""
    on = cluster(devices=3)
    off = replace(make("late-eft"), cluster=on, profile=profile(on))
    setup = replace(off, options=msgspec.structs.replace(off.options, prefetch=True))
    work = [chain("w", "ABCAB"), chain("v", "CAB")]
    truth = Truth(profile=profile(on, 1.3), noise=0.3)
    simulated = simulate([(0.0, graph) for graph in work], setup, truth)
    assert simulated.makespan_s < simulate([(0.0, g) for g in work], off, truth).makespan_s
    bench = Bench(setup, work, truth)
    asyncio.run(bench.run())
    same(bench.log.records, list(simulated.records))


@pytest.mark.parametrize("noise", [0.0, 0.3])
@pytest.mark.parametrize("policy", ["fate", "round-robin"])
def test_they_agree_on_parked_states(policy: str, noise: float) -> None:
    """What an unload saves comes back with the next load, here as there, and is worth having."""
    on = cluster(devices=2, park_bytes=1 << 20)
    setup = replace(make(policy), cluster=on, profile=profile(on))
    truth = Truth(profile=profile(on, 1.3), noise=noise)
    simulated = simulate([(0.0, graph) for graph in mixed()], setup, truth)
    loads = [c for r in simulated.records for c in r.commands if isinstance(c, Load)]
    assert any(load.restore for load in loads)
    bench = Bench(setup, mixed(), truth)
    asyncio.run(bench.run())
    same(bench.log.records, list(simulated.records))
    off = replace(setup, options=msgspec.structs.replace(setup.options, park=False))
    without = simulate([(0.0, graph) for graph in mixed()], off, truth)
    assert computed(simulated.records) < computed(without.records)


@pytest.mark.parametrize("policy", ["fate", "round-robin"])
def test_they_agree_on_moves(policy: str) -> None:
    """States that come over a link arrive at the same instants, with the same bytes."""
    on = cluster(devices=2, park_bytes=1 << 20, link_bytes_per_s=1e8)
    setup = replace(make(policy), cluster=on, profile=profile(on))
    truth = Truth(profile=profile(on, 1.3), noise=0.3)
    simulated = simulate([(0.0, graph) for graph in mixed()], setup, truth)
    moves = [c for r in simulated.records for c in r.commands if isinstance(c, Move)]
    assert moves
    bench = Bench(setup, mixed(), truth)
    asyncio.run(bench.run())
    same(bench.log.records, list(simulated.records))


def computed(records: Iterable[Record]) -> int:
    """Prompt tokens that no cache held."""
    done = [e for record in records for e in record.events if isinstance(e, ItemDone)]
    return sum(event.prompt_tokens - event.cached_tokens for event in done)


@settings(max_examples=25)
@given(
    shapes=st.lists(random_graphs(), min_size=1, max_size=3),
    policy=st.sampled_from(["late-eft", "fate", "round-robin"]),
    noise=st.sampled_from([0.0, 0.3]),
    refusal_rate=st.sampled_from([0.0, 0.1]),
    reuse=st.booleans(),
)
def test_they_agree_on_any_graph(
    shapes: list[tuple[Stage, ...]], policy: str, noise: float, refusal_rate: float, reuse: bool
) -> None:
    """Groups, conditions, joins, items given up, twins."""
    setup = make(policy)
    truth = Truth(
        profile=profile(setup.cluster, 1.3), noise=noise, reuse=reuse, refusal_rate=refusal_rate
    )
    graphs = [named(f"w{i}", shape) for i, shape in enumerate(shapes)]
    simulated = simulate([(0.0, graph) for graph in graphs], setup, truth)
    bench = Bench(setup, graphs, truth)
    outcome = asyncio.run(bench.run())
    same(bench.log.records, list(simulated.records))
    assert outcome.ended == simulated.ended
    replay(bench.log.records, setup)
    audit = Audit(setup.cluster, graphs).of(bench.log.records)
    defaults = {key for work in bench.works.values() for key in work.defaults}
    assert set(bench.outputs.texts) == set(audit.done) | defaults


def test_a_log_survives_its_encoding() -> None:
    """A replay of the records as the journal stores them is the same replay."""
    setup = make("late-eft")
    truth = Truth(profile=setup.profile, noise=0.3)
    records = simulate([(0.0, graph) for graph in mixed()], setup, truth).records
    stored = [msgspec.json.decode(msgspec.json.encode(r), type=Record) for r in records]
    assert stored == list(records)
    core = replay(stored, setup)
    assert core.finished
