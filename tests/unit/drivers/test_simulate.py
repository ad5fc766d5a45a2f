"""What any simulation keeps to, whatever the policy, the graphs and the world."""

import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.audit import Audit
from tests.graphs import chain, cluster, llm, map_reduce, mixed, profile
from tests.random_graphs import graphs, named

from fate.core.options import SchedulerOptions
from fate.domain.catalog import Cluster
from fate.domain.graph import Graph, Stage
from fate.domain.messages import Call, Failed, ItemDone, Load, Planned, Record, Submitted
from fate.drivers.setup import Outcome, Setup
from fate.drivers.simulate import simulate
from fate.drivers.world import Truth
from fate.registry import BUILTIN, build

if TYPE_CHECKING:
    from fate.policy.base import Policy

POLICIES = sorted(BUILTIN["policy"])
every_policy = pytest.mark.parametrize("policy", POLICIES)


def setup_of(policy: str, on: Cluster | None = None, seed: int = 0, **options: float) -> Setup:
    """Return a setup with the costs of `tests.graphs`."""
    on = on or cluster()
    return Setup(
        cluster=on,
        profile=profile(on),
        policy=cast("Policy", build("policy", policy)),
        options=SchedulerOptions(**options),  # pyright: ignore[reportArgumentType]
        seed=seed,
    )


def run(setup: Setup, *graphs: Graph, truth: Truth | None = None) -> Outcome:
    """Simulate graphs that are all there from the start, and go over the log."""
    outcome = simulate([(0.0, graph) for graph in graphs], setup, truth)
    audit = Audit(setup.cluster, graphs).of(outcome.records)
    assert audit.ended == outcome.ended
    return outcome


@every_policy
@settings(max_examples=12)
@given(
    shapes=st.lists(graphs(), min_size=1, max_size=3),
    devices=st.integers(1, 3),
    memory_mib=st.sampled_from([70, 100, 160]),
    slots=st.integers(1, 2),
    chunk_s=st.sampled_from([0.0, 0.3, 5.0]),
    noise=st.sampled_from([0.0, 0.5]),
    failure_rate=st.sampled_from([0.0, 0.0, 0.3]),
    refusal_rate=st.sampled_from([0.0, 0.0, 0.2]),
    reuse=st.booleans(),
)
def test_logs_are_sound(
    policy: str,
    shapes: list[tuple[Stage, ...]],
    devices: int,
    memory_mib: int,
    slots: int,
    chunk_s: float,
    noise: float,
    failure_rate: float,
    refusal_rate: float,
    reuse: bool,
) -> None:
    """Each item once, parents first, slots and memory within bounds; see `tests.audit`."""
    on = cluster(devices, memory_mib, slots)
    truth = Truth(
        profile=profile(on, 1.2),
        noise=noise,
        length_noise=noise,
        failure_rate=failure_rate,
        refusal_rate=refusal_rate,
        reuse=reuse,
    )
    workflows = [named(f"w{i}", shape) for i, shape in enumerate(shapes)]
    outcome = run(setup_of(policy, on, chunk_s=chunk_s), *workflows, truth=truth)
    if not failure_rate and not refusal_rate:
        assert outcome.status == "ok"


@every_policy
def test_a_seed_fixes_everything(policy: str) -> None:
    """The same seed gives the same log; another seed gives other durations."""
    on = cluster()
    truth = Truth(profile=profile(on, 1.2), noise=0.3, length_noise=0.3)
    one, two, other = (run(setup_of(policy, on, seed), *mixed(), truth=truth) for seed in (1, 1, 2))
    assert one.records == two.records
    assert one.makespan_s != other.makespan_s


_ALL_LOGS = """
import msgspec
from tests.graphs import mixed
from tests.unit.drivers.test_simulate import POLICIES, Truth, setup_of, simulate
for name in POLICIES:
    setup = setup_of(name)
    truth = Truth(profile=setup.profile, noise=0.3)
    log = simulate([(0.0, graph) for graph in mixed()[:4]], setup, truth).records
    print(name, msgspec.json.encode(log).decode())
"""


def test_hash_seeds_change_nothing() -> None:
    """Logs of every policy are equal to the byte under two seeds of `hash`."""
    root = str(Path(__file__).parents[3])
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", _ALL_LOGS],
            env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": root},
            stdout=subprocess.PIPE,
            text=True,
        )
        for hash_seed in ("0", "1")
    ]
    logs = [process.communicate()[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert logs[0] == logs[1]
    assert len(logs[0].splitlines()) == len(POLICIES)


@every_policy
def test_the_future_does_not_leak(policy: str) -> None:
    """Two worlds that differ are decided on alike until something different has happened."""
    setup = setup_of(policy)
    truths = [
        Truth(profile=setup.profile),
        Truth(profile=profile(setup.cluster, 1.7), noise=0.4, failure_rate=0.3),
    ]
    logs = [run(setup, *mixed(), truth=truth).records for truth in truths]
    alike = 0
    for one, two in zip(*logs, strict=False):
        if (one.at_s, one.events) != (two.at_s, two.events):
            break
        assert one.commands == two.commands, "decided otherwise after the same events"
        alike += 1
    loads = [c for record in logs[0][:alike] for c in record.commands if isinstance(c, Load)]
    assert loads, "the worlds differ before anything is decided"
    assert alike < len(logs[0])


def test_plans_come_after_their_modelled_time() -> None:
    """Planning takes 2 ms here, or as long as is said."""
    setup = setup_of("late-eft")
    for planning_s in (0.002, 0.1):
        records = simulate([(0.0, chain("w", "A"))], setup, planning_s=planning_s).records
        planned = [r.at_s for r in records if any(isinstance(e, Planned) for e in r.events)]
        assert planned == [planning_s]


def test_a_slow_planner_does_not_hold_devices_up() -> None:
    """After the grace the greedy fallback starts work; the plan comes when it comes."""
    setup = setup_of("late-eft", plan_grace_s=0.1)
    outcome = simulate([(0.0, chain("w", "A"))], setup, planning_s=5.0)
    load = next(r for r in outcome.records if any(isinstance(c, Load) for c in r.commands))
    assert load.at_s == 0.1
    assert outcome.status == "ok"


def test_arrivals_come_when_they_come() -> None:
    """In any order; the devices idle in between, and the clock does not stop."""
    setup = setup_of("late-eft")
    arrivals = [(9.0, chain("late", "A")), (0.0, chain("early", "A"))]
    outcome = simulate(arrivals, setup)
    submitted = [
        (record.at_s, event.graph.id)
        for record in outcome.records
        for event in record.events
        if isinstance(event, Submitted)
    ]
    assert submitted == [(0.0, "early"), (9.0, "late")]
    assert outcome.makespan_s > 9.0


def test_a_zero_noise_run_takes_what_it_should() -> None:
    """Planning 0.002 s, load 0.40 s, 310 new tokens and 32 generated ones of model A."""
    outcome = run(setup_of("late-eft"), chain("w", "A"))
    expected = 0.002 + 0.40 + (0.002 + 310 / 2500) + 32 / 460
    assert outcome.makespan_s == pytest.approx(expected)


def test_shared_prefixes_are_not_computed_twice() -> None:
    """The second call finds the system prompt in the cache and reports as much."""
    on = cluster(devices=1)
    outcome = run(setup_of("late-eft", on), chain("v", "A"), chain("w", "A"))
    items = [e for r in outcome.records for e in r.events if isinstance(e, ItemDone)]
    assert [item.cached_tokens for item in items] == [0, 250]


def test_failures_are_retried_until_they_are_too_many() -> None:
    """With every attempt failing, each workflow fails after three, with the reason."""
    on = cluster()
    truth = Truth(profile=profile(on), failure_rate=1.0)
    outcome = run(setup_of("late-eft", on), chain("v", "AB"), chain("w", "BA"), truth=truth)
    assert outcome.status == "failed"
    failed = [e for r in outcome.records for e in r.events if isinstance(e, Failed)]
    assert len(failed) == 6
    assert "(attempt 3 of 3): simulated failure" in outcome.ended["v"].reason


def test_some_failures_are_survived() -> None:
    """A third of the attempts fail; items done before the failure are not done again."""
    on = cluster()
    truth = Truth(profile=profile(on), failure_rate=0.3)
    setup = setup_of("late-eft", on, chunk_s=60.0, max_attempts=9)
    outcome = run(setup, *[map_reduce(f"w{i}", items=6) for i in range(4)], truth=truth)
    assert outcome.status == "ok"
    assert any(isinstance(e, Failed) for r in outcome.records for e in r.events)


def diamond() -> Graph:
    """One root, two branches, one join."""
    stages = (
        llm("w", "a", "A"),
        llm("w", "b", "B", ["a"]),
        llm("w", "c", "C", ["a"]),
        llm("w", "d", "A", ["b", "c"]),
    )
    return Graph(id="w", stages=stages)


ODD = {
    "empty": Graph(id="w", stages=()),
    "one stage": chain("w", "A"),
    "one tool": Graph(id="w", stages=(Stage(id="t", kind="tool", tool_s=0.1),)),
    "tool of no time": Graph(id="w", stages=(Stage(id="t", kind="tool"),)),
    "diamond": diamond(),
    "several roots": Graph(id="w", stages=tuple(llm("w", f"s{i}", "ABC"[i % 3]) for i in range(9))),
    "map over nothing": map_reduce("w", items=0),
    "map over one": map_reduce("w", items=1),
}


@every_policy
@pytest.mark.parametrize("shape", list(ODD))
def test_odd_graphs(policy: str, shape: str) -> None:
    """Whatever a graph looks like, it comes to its end."""
    assert run(setup_of(policy), ODD[shape]).status == "ok"


def test_nothing_at_all() -> None:
    """No workflow, no record."""
    outcome = simulate([], setup_of("late-eft"))
    assert (outcome.records, outcome.makespan_s, outcome.status) == ((), 0.0, "ok")


@pytest.mark.parametrize("count", [2_000, pytest.param(10_000, marks=pytest.mark.slow)])
def test_large_graphs(count: int) -> None:
    """Layers of a hundred stages; the work of a step does not grow with what is waiting."""
    stages = [
        llm("w", f"s{i}", "ABC"[i % 3], [f"s{i - 100}"] if i >= 100 else []) for i in range(count)
    ]
    outcome = run(
        setup_of("round-robin-idle", cluster(devices=4)), Graph(id="w", stages=tuple(stages))
    )
    assert outcome.status == "ok"
    assert _calls(outcome.records) == count


def _calls(records: tuple[Record, ...]) -> int:
    return sum(isinstance(c, Call) for record in records for c in record.commands)


def test_times_never_go_back() -> None:
    """Records are in order of time, and several may share an instant."""
    records = run(setup_of("fate"), *mixed()).records
    assert all(one.at_s <= two.at_s for one, two in pairwise(records))
