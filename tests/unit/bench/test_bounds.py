"""Lower bounds: what each term forces, by hand; and that nothing ever goes below."""

from dataclasses import replace

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.graphs import cluster, profile
from tests.random_graphs import graphs, named

from fate.bench.bounds import lower_bound
from fate.bench.case import Case, run_case
from fate.bench.exact import solve_exact
from fate.bench.guards import check
from fate.bench.paths import paths
from fate.bench.pricing import priced
from fate.bench.small import small_case
from fate.cost.profile import CallCosts, Profile
from fate.domain.catalog import Cluster, Device, Link, Model, PrefixKind
from fate.domain.graph import Graph, Segment, Stage
from fate.drivers.world import Truth
from fate.policy.baselines.greedy import LateEft


def by_hand(stages: tuple[Stage, ...], *, devices: int = 2, memory: int = 10) -> Case:
    """Models a and b of 10 bytes, 4 s to load and 1 s to unload; links of 1 byte/s; no prefixes.

    A call takes a second for each answer token.
    """
    names = [f"d{d}" for d in range(devices)]
    costs = CallCosts(load_s=4.0, unload_s=1.0, prefill=(0.0, 0.0, 0.0), decode=(0.0, 1.0, 0.0))
    known = Profile(costs={name: {"a": costs, "b": costs} for name in names}, source="declared")
    on = Cluster(
        devices=tuple(
            Device(id=name, engine="simulated", memory_bytes=memory, prefix="none")
            for name in names
        ),
        models=(Model(id="a", weight_bytes=10), Model(id="b", weight_bytes=10)),
        links=tuple(
            Link(source=s, target=t, bytes_per_s=1.0) for s in names for t in names if s != t
        ),
    )
    return Case(
        arrivals=((0.0, Graph(id="w", stages=stages)),),
        cluster=on,
        profile=known,
        truth=Truth(profile=known),
        seed=0,
    )


def call(name: str, seconds: int, *parents: str, model: str = "a", sends: int = 0) -> Stage:
    """A call of some seconds that leaves some bytes."""
    return Stage(
        id=name,
        kind="llm",
        model=model,
        parents=parents,
        prompt=(Segment(f"p-{name}", 10),),
        output_tokens=float(seconds),
        max_tokens=seconds,
        output_bytes=sends,
    )


def test_a_model_is_loaded_before_its_first_call() -> None:
    """4 s of loading, 3 s of work; with room for it the load could be made in advance."""
    assert lower_bound(by_hand((call("x", 3),))).seconds == pytest.approx(7.0)


def test_an_edge_between_models_costs_a_load_or_a_transfer() -> None:
    """Model a on d0 until 7, then b: on d0 unload 1 + load 4, on d1 the bytes; the cheaper one.

    On d1 b may be loaded at the earliest when x has ended, unless it is a prefetch.
    """
    stages = (call("x", 3, sends=2), call("y", 3, "x", model="b"))
    assert paths(priced(by_hand(stages))).longest_s == pytest.approx(7.0 + 4.0 + 3.0)
    assert paths(priced(by_hand(stages)), prefetch=True).longest_s == pytest.approx(7.0 + 2.0 + 3.0)
    far = (call("x", 3, sends=9), call("y", 3, "x", model="b"))
    assert paths(priced(by_hand(far))).longest_s == pytest.approx(7.0 + 1.0 + 4.0 + 3.0)


def test_a_join_waits_for_parents_in_turn_or_for_their_bytes() -> None:
    """Two calls of 6 s: both here end at 4 + 12; one of them there costs 5 s of transfer.

    With cheap links it is 4 + 6 and a transfer of 1 s.
    """
    dear = (call("x", 6, sends=5), call("y", 6, sends=5), call("z", 2, "x", "y"))
    assert paths(priced(by_hand(dear))).longest_s >= 4.0 + 6.0 + 5.0 * 5 / 6
    cheap = tuple(msgspec.structs.replace(stage, output_bytes=1) for stage in dear)
    assert paths(priced(by_hand(cheap))).longest_s == pytest.approx(4.0 + 6.0 + 1.0 + 2.0)


def test_capacity_counts_a_load_for_every_device_that_helps() -> None:
    """Sixteen seconds of one model on two devices: 4 + 8 on each, as both have to load it."""
    many = tuple(call(f"x{k}", 2) for k in range(8))
    bound = lower_bound(by_hand(many))
    assert bound.plain_s == pytest.approx(8.0)
    assert bound.seconds == pytest.approx(12.0, rel=0.01) and bound.seconds <= 12.0


def test_a_shared_prompt_is_computed_once_on_each_device_that_uses_it() -> None:
    """8 calls, 1 s each behind 10 s of a common prompt: two devices pay it twice, one pays once."""
    case = by_hand(tuple(call(f"x{k}", 1) for k in range(8)))
    common = (Segment("common", 10), Segment("own", 0))
    _, graph = case.arrivals[0]
    stages = tuple(
        msgspec.structs.replace(s, prompt=(*common, Segment(s.id, 1))) for s in graph.stages
    )
    costs = CallCosts(load_s=4.0, unload_s=1.0, prefill=(0.0, 1.0, 0.0), decode=(0.0, 1.0, 0.0))
    known = Profile(costs={d: {"a": costs} for d in ("d0", "d1")}, source="declared")
    devices = tuple(msgspec.structs.replace(d, prefix="sequences") for d in case.cluster.devices)
    case = replace(
        case,
        arrivals=((0.0, msgspec.structs.replace(graph, stages=stages)),),
        cluster=msgspec.structs.replace(case.cluster, devices=devices, links=()),
        truth=Truth(profile=known),
        profile=known,
    )
    bound = lower_bound(case)
    assert bound.seconds == pytest.approx(4.0 + 10.0 + 4 * 2.0, rel=0.01)
    assert bound.seconds <= run_case(case, LateEft()).makespan_s


@pytest.mark.parametrize("seed", range(6))
def test_the_bound_is_never_above_the_optimum(seed: int) -> None:
    """On random small cases, whose optimum is proved, and never below the plain bound."""
    case = small_case(seed, stages=6, workflows=1 + seed % 3, devices=2 + seed % 2)
    optimum, bound = solve_exact(case), lower_bound(case)
    assert optimum.proved
    assert bound.plain_s <= bound.seconds <= optimum.makespan_s + 1e-9
    assert lower_bound(case, prefetch=True).seconds <= bound.seconds + 1e-9


@settings(max_examples=25)
@given(
    shapes=st.lists(graphs(), min_size=1, max_size=3),
    noise=st.sampled_from([0.0, 0.5]),
    length_noise=st.sampled_from([0.0, 0.5]),
    reuse=st.booleans(),
    slots=st.sampled_from([1, 2]),
    prefix=st.sampled_from(["none", "sequences", "blocks"]),
)
def test_no_run_is_below_the_bound(
    shapes: list[tuple[Stage, ...]],
    noise: float,
    length_noise: float,
    reuse: bool,
    slots: int,
    prefix: PrefixKind,
) -> None:
    """Maps, groups, joins, tools, twins, noise, slots and caches of every kind."""
    on = cluster(slots=slots, memory_mib=100, link_bytes_per_s=1e6)
    devices = tuple(msgspec.structs.replace(d, prefix=prefix, cache_tokens=400) for d in on.devices)
    known = profile(on)
    case = Case(
        arrivals=tuple((0.5 * k, named(f"w{k}", shape)) for k, shape in enumerate(shapes)),
        cluster=msgspec.structs.replace(on, devices=devices),
        profile=known,
        truth=Truth(profile=known, noise=noise, length_noise=length_noise, reuse=reuse),
        seed=1,
    )
    check(case, run_case(case, LateEft()), at_least_s=lower_bound(case).seconds)
