"""Where busy time went: by hand on one device, and against a run's total."""

import msgspec
import pytest

from fate.bench.case import PATIENT, Case, run_case
from fate.bench.policies import ready_policy
from fate.bench.uses import uses
from fate.cost.profile import CallCosts, Profile
from fate.domain.catalog import Cluster, Device, Link, Model
from fate.domain.graph import Graph, Segment, Stage
from fate.drivers.world import Truth

COSTS = CallCosts(load_s=3.0, unload_s=0.5, prefill=(0.0, 0.01, 0.0), decode=(0.0, 0.1, 0.0))


def stage(name: str, model: str, *parents: str) -> Stage:
    """Return a stage with 100 shared and 20 own tokens, 10 tokens and 1 000 bytes of answer."""
    prompt = (Segment(f"sys:{model}", 100), Segment(f"own:{name}", 20))
    return Stage(
        id=name, kind="llm", model=model, parents=parents, prompt=prompt, output_tokens=10,
        output_bytes=1000,
    )  # fmt: skip


def case(devices: int, *stages: Stage) -> Case:
    """Return one workflow on devices that hold one model each."""
    names = [f"d{d}" for d in range(devices)]
    cluster = Cluster(
        devices=tuple([Device(id=d, engine="simulated", memory_bytes=10) for d in names]),
        models=(Model(id="a", weight_bytes=8), Model(id="b", weight_bytes=8)),
        links=tuple(
            [
                Link(source=x, target=y, bytes_per_s=500.0, latency_s=0.25)
                for x in names
                for y in names
                if x != y
            ]
        ),
    )
    profile = Profile(costs={d: {"a": COSTS, "b": COSTS} for d in names}, source="declared")
    return Case(
        arrivals=((0.0, Graph(id="w", stages=stages)),),
        cluster=cluster,
        profile=profile,
        truth=Truth(profile=profile),
        seed=0,
        options=msgspec.structs.replace(PATIENT, move=False, park=False),
    )


def test_one_device_by_hand() -> None:
    """a, a again (its prefix is cached), then b: two loads, an unload between, no transfer."""
    one = case(1, stage("x", "a"), stage("y", "a", "x"), stage("z", "b", "y"))
    outcome = run_case(one, ready_policy("round-robin"))
    used = uses(one, outcome)
    assert used.load_s == pytest.approx(6.0)
    assert used.unload_s == pytest.approx(0.5)
    assert used.prefix_s == pytest.approx(2.0)  # 100 tokens twice, not three times
    assert used.own_s == pytest.approx(0.6)
    assert used.decode_s == pytest.approx(3.0)
    assert used.transfer_s == pytest.approx(0.0)
    assert used.fetched_bytes == 0
    assert used.busy_s == pytest.approx(outcome.makespan_s)


def test_outputs_cross_links() -> None:
    """Round-robin takes turns: the child is elsewhere and fetches 1 000 bytes in 2.25 s."""
    two = case(2, stage("x", "a"), stage("y", "a", "x"))
    outcome = run_case(two, ready_policy("round-robin"))
    used = uses(two, outcome)
    assert used.transfer_s == pytest.approx(2.25)
    assert used.fetched_bytes == 1000
    assert used.busy_s == pytest.approx(outcome.makespan_s)
