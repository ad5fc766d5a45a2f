"""Every registered policy brings every shape of workflow to its end, under the guards.

The guards (`fate.bench.guards`) read the log: each item exactly once, parents first, no more calls
than slots, memory and caches within their budgets. Nobody is forced to start, so that a policy
that starves something is found out.
"""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.audit import Audit
from tests.graphs import chain, cluster, group, llm, map_reduce, mixed, profile
from tests.random_graphs import graphs, named

from fate.bench.case import Case, run_case
from fate.bench.guards import check
from fate.domain.catalog import Cluster
from fate.domain.graph import Graph, Stage
from fate.drivers.world import Truth
from fate.registry import BUILTIN, build

every_policy = pytest.mark.parametrize("name", sorted(BUILTIN["policy"]))


def case(on: Cluster, *arrivals: tuple[float, Graph], noise: float = 0.0) -> Case:
    """Return workflows on a cluster whose costs are known, up to noise."""
    known = profile(on)
    truth = Truth(profile=known, noise=noise, length_noise=noise)
    return Case(arrivals=arrivals, cluster=on, profile=known, truth=truth, seed=3)


def run(name: str, problem: Case) -> None:
    """Run a case under a policy; its log must hold up, and every workflow end well."""
    outcome = run_case(problem, build("policy", name))
    assert outcome.status == "ok"
    check(problem, outcome)


def diamonds(name: str) -> Graph:
    """Three roots; two diamonds in a row behind the first; a join of everything."""
    stages = [
        llm(name, "a", "A"),
        llm(name, "b", "B", ["a"]),
        llm(name, "c", "A", ["a"]),
        llm(name, "d", "C", ["b", "c"]),
        llm(name, "e", "A", ["d"]),
        llm(name, "f", "B", ["d"]),
        llm(name, "g", "A", ["e", "f"]),
        llm(name, "x", "C"),
        llm(name, "y", "B"),
        llm(name, "z", "A", ["g", "x", "y"]),
    ]
    return Graph(id=name, stages=tuple(stages))


def unforeseen(name: str) -> Graph:
    """A map over two stages, a tool, a loop: stages that are known only once they are revealed."""
    study = group("study", llm(name, "n", "A"), llm(name, "m", "B", ["n"]), items=3)
    tool = Stage(id="t", kind="tool", tool_s=0.3, parents=("study",))
    loop = group("again", llm(name, "r", "C"), rounds=2.0, parents=["t"])
    return Graph(id=name, stages=(study, tool, loop))


@every_policy
def test_small_shapes(name: str) -> None:
    """One stage alone; several roots and diamonds, twice; a map with a join."""
    run(name, case(cluster(), (0.0, chain("w", "A"))))
    run(name, case(cluster(), (0.0, diamonds("v")), (0.0, diamonds("w"))))
    run(name, case(cluster(slots=2, memory_mib=100), (0.0, map_reduce("m", items=9))))


@every_policy
def test_what_is_revealed_late(name: str) -> None:
    """Groups, tools and workflows that arrive while others run, under noise."""
    graphs = [unforeseen("g0"), chain("w0", "ABCA"), unforeseen("g1"), diamonds("d0")]
    arrivals = [(0.7 * i, graph) for i, graph in enumerate(graphs)]
    run(name, case(cluster(), *arrivals, noise=0.5))


@every_policy
def test_ten_devices(name: str) -> None:
    """More devices than work at first, caches of blocks, links, more workflows than devices."""
    of = cluster(devices=10, link_bytes_per_s=1e6)
    blocks = [replace(d, prefix="blocks", cache_tokens=800) for d in of.devices]
    wide = [*mixed(), diamonds("d0"), *(chain(f"c{i}", "ABC"[i % 3] * 3) for i in range(8))]
    run(name, case(replace(of, devices=tuple(blocks)), *[(0.0, graph) for graph in wide]))


@every_policy
@settings(max_examples=4, derandomize=True, deadline=None)
@given(shapes=st.lists(graphs(), min_size=1, max_size=3))
def test_random_shapes(name: str, shapes: list[tuple[Stage, ...]]) -> None:
    """Whatever the language of workflows allows; joins that give up work are beyond the guards."""
    drawn = [named(f"w{i}", shape) for i, shape in enumerate(shapes)]
    problem = case(cluster(), *[(0.0, graph) for graph in drawn])
    Audit(problem.cluster, drawn).of(run_case(problem, build("policy", name)).records)
