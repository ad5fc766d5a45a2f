"""The offline best: what is projected is what happens, and annealing finds what there is."""

import dataclasses

import msgspec
import numpy as np
import pytest
from tests.graphs import chain, cluster, llm, map_reduce, mixed, profile

from fate.bench.bounds import lower_bound
from fate.bench.case import PATIENT, Case, run_case
from fate.bench.exact import solve_exact
from fate.bench.guards import check
from fate.bench.offline import (
    Schedule,
    best_known,
    clairvoyant,
    offline_best,
    play,
    schedule_of,
    whole_snapshot,
)
from fate.bench.played import PlayedPriorities
from fate.bench.small import small_case
from fate.domain.catalog import PrefixKind
from fate.domain.errors import FateError
from fate.domain.graph import Graph
from fate.policy.baselines.greedy import LateEft
from fate.policy.baselines.queueing import round_robin
from fate.policy.kernel.backend import ReferenceKernel
from fate.policy.kernel.problem import Weights
from fate.policy.kernel.reference_project import Aims, Places
from fate.view.history import History


def on_devices(prefix: PrefixKind, works: list[Graph]) -> Case:
    """Three devices that hold two models each, with links, and caches of a kind; no moves."""
    on = cluster(devices=3, memory_mib=100, link_bytes_per_s=4e6)
    devices = tuple(
        msgspec.structs.replace(d, prefix=prefix, cache_tokens=900, sequences=2) for d in on.devices
    )
    on = msgspec.structs.replace(on, devices=devices)
    case = small_case(0)
    known = profile(on)
    return dataclasses.replace(
        case,
        arrivals=tuple((0.7 * k, graph) for k, graph in enumerate(works)),
        cluster=on,
        profile=known,
        truth=dataclasses.replace(case.truth, profile=known),
        options=msgspec.structs.replace(PATIENT, move=False, park=False),
    )


def sends(graph: Graph) -> Graph:
    """The same workflow, every stage of which leaves two megabytes behind."""
    stages = tuple(msgspec.structs.replace(s, output_bytes=2_000_000) for s in graph.stages)
    return msgspec.structs.replace(graph, stages=stages)


def ends(history: History) -> dict[str, float]:
    """When each stage ended."""
    return {stage.instance: stage.end_s or 0.0 for stage in history.stages}


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("prefix", ["none", "sequences", "blocks"])
def test_what_is_projected_is_what_happens(prefix: PrefixKind, seed: int) -> None:
    """Random devices and turns, transfers, evictions and arrivals: the same ends, one by one."""
    diamond = (
        llm("e", "a", "A"), llm("e", "b", "B", ["a"]), llm("e", "c", "C", ["a"]),
        llm("e", "d", "A", ["b", "c"]),
    )  # fmt: skip
    works = [chain("x", "ABCA"), Graph(id="e", stages=diamond), chain("y", "CABA")]
    case = clairvoyant(on_devices(prefix, [sends(graph) for graph in works]))
    snapshot, draw = whole_snapshot(case), np.random.default_rng(seed)
    nodes = len(snapshot.model)
    device, turn = draw.integers(3, size=nodes).tolist(), draw.permutation(nodes).tolist()
    found, _ = (
        ReferenceKernel(snapshot, Weights(depth=0))
        .whole(Aims(mean=0.0))
        .project(Places(device, [float(t) for t in turn]))
    )
    place = {
        name: (d, -float(t)) for name, d, t in zip(snapshot.node_names, device, turn, strict=True)
    }
    history = check(case, run_case(case, PlayedPriorities(place)))
    happened = ends(history)
    projected = dict(zip(snapshot.node_names, found.finish_s, strict=True))
    assert projected == pytest.approx(happened, rel=1e-9)


def start_of(case: Case) -> tuple[Schedule, float]:
    """What late-EFT does."""
    outcome = run_case(case, LateEft())
    return schedule_of(case, check(case, outcome)), outcome.makespan_s


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_annealing_finds_the_optimum_of_small_cases(seed: int) -> None:
    """Or comes close: its schedules never wait for what is not ready, the optimum's may."""
    case = small_case(seed, stages=5, devices=2)
    start, made_s = start_of(case)
    optimum = solve_exact(case)
    found = offline_best(case, start, evaluations=4_000)
    reached_s = found.outcome.makespan_s
    assert found.projected_s == pytest.approx(reached_s, rel=1e-9)
    assert optimum.makespan_s - 1e-9 <= reached_s <= min(made_s, 1.05 * optimum.makespan_s)


def test_the_best_known_is_the_best_of_all() -> None:
    """Annealing, unless a policy was better or nobody can know what happens."""
    case = small_case(3, stages=6, devices=2)
    outcomes = {"late-eft": run_case(case, LateEft()), "round-robin": run_case(case, round_robin())}
    best = best_known(case, outcomes)
    assert best.makespan_s <= min(outcome.makespan_s for outcome in outcomes.values())
    check(case, best, at_least_s=lower_bound(case).seconds)
    noisy = dataclasses.replace(case, truth=dataclasses.replace(case.truth, noise=0.1))
    assert best_known(noisy, outcomes) in outcomes.values()


def test_a_schedule_is_what_a_run_did() -> None:
    """Played again, a run of late-EFT that never waited takes as long."""
    case = on_devices("sequences", [chain("x", "ABCA"), chain("y", "CABA")])
    schedule, _ = start_of(case)
    assert set(schedule) == {f"{w}/s{k}" for w in "xy" for k in range(4)}
    assert play(case, schedule).status == "ok"


def test_chunks_of_a_map_have_places_of_their_own() -> None:
    """A schedule names them as runs do, so that what annealing finds can be played."""
    case = on_devices("none", [chain("x", "AB"), map_reduce("m")])
    options = msgspec.structs.replace(case.options, chunk_s=0.5)
    case = clairvoyant(dataclasses.replace(case, options=options))
    schedule, _ = start_of(case)
    assert any("[" in name for name in schedule)
    assert set(schedule) == set(whole_snapshot(case).node_names)
    assert offline_best(case, schedule, evaluations=200).outcome.status == "ok"


def test_what_is_drawn_cannot_be_known() -> None:
    """With noise there is no offline best."""
    case = on_devices("none", mixed())
    noisy = dataclasses.replace(case, truth=dataclasses.replace(case.truth, noise=0.1))
    with pytest.raises(FateError, match="without noise"):
        clairvoyant(noisy)
