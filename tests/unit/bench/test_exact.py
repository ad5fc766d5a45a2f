"""The exact optimum: what brute force finds, and what the core takes to play it."""

from dataclasses import replace
from itertools import permutations

import msgspec
import pytest

from fate.bench.case import Case, run_case
from fate.bench.exact import Lists, as_chunks, solve_exact
from fate.bench.guards import check
from fate.bench.played import PlayedOrders, PlayedPriorities
from fate.bench.pricing import priced
from fate.bench.small import small_case
from fate.domain.errors import FateError
from fate.domain.graph import Chunk
from fate.domain.messages import Call


def every_schedule(case: Case) -> list[Lists]:
    """All orders of all calls, cut into two lists at every place."""
    calls = range(len(priced(case).nodes))
    return [(o[:cut], o[cut:]) for o in permutations(calls) for cut in range(len(calls) + 1)]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_no_schedule_is_shorter(seed: int) -> None:
    """Every list schedule of four calls on two devices is played; the best is the solver's."""
    case = small_case(seed, stages=4, devices=2)
    p = priced(case)
    played = [
        run_case(case, PlayedOrders(as_chunks(p, lists))).makespan_s
        for lists in every_schedule(case)
    ]
    found = solve_exact(case)
    assert found.proved
    assert found.makespan_s == pytest.approx(min(played), abs=1e-9)


@pytest.mark.parametrize("seed", [3, 4, 5])
def test_the_core_takes_what_the_solver_says(seed: int) -> None:
    """Costs are whole ticks, so claim, bound and simulation are one number; guards agree."""
    case = small_case(seed, stages=7, workflows=3)
    found = solve_exact(case)
    assert found.claimed_s == found.bound_s == pytest.approx(found.makespan_s, abs=1e-9)
    outcome = run_case(case, PlayedOrders(as_chunks(priced(case), found.lists)))
    check(case, outcome, at_least_s=found.bound_s)


def test_a_hint_changes_nothing_but_time() -> None:
    """A schedule to start from leads to the same optimum."""
    case = small_case(6, stages=5, devices=2)
    found = solve_exact(case)
    everything_here = (tuple(range(5)), ())
    assert solve_exact(case, everything_here).claimed_s == found.claimed_s


def test_a_list_waits_for_what_is_next() -> None:
    """A device with a call ready stays idle when its list has another one first."""
    case = small_case(0, stages=5, devices=2, workflows=3)
    p = priced(case)
    assert [n.parents for n in p.nodes][:3] == [(), (0,), ()]
    lists = ((0, 4), (1, 2, 3))  # the second device waits for 1 while 2 is ready
    outcome = run_case(case, PlayedOrders(as_chunks(p, lists)))
    calls = [c for r in outcome.records for c in r.commands if isinstance(c, Call)]
    there = [c.chunk.instance for c in calls if c.device == "d1"]
    assert there == [p.nodes[j].instance for j in lists[1]]
    check(case, outcome)


def test_an_idle_device_takes_the_ready_call_of_highest_priority() -> None:
    """Priorities order what is ready, on the device each call is given."""
    case = small_case(1, stages=6, devices=2, workflows=6)
    names = [node.instance for node in priced(case).nodes]
    place = {name: (k % 2, float(k)) for k, name in enumerate(names)}
    outcome = run_case(case, PlayedPriorities(place))
    calls = [c for r in outcome.records for c in r.commands if isinstance(c, Call)]
    assert [c.chunk.instance for c in calls if c.device == "d0"] == [names[k] for k in (4, 2, 0)]
    assert [c.chunk.instance for c in calls if c.device == "d1"] == [names[k] for k in (5, 3, 1)]


def test_chunks_are_what_the_core_calls_them() -> None:
    """Nodes by position become chunks by name."""
    case = small_case(0, stages=2, devices=2)
    assert as_chunks(priced(case), ((1,), (0,))) == (
        (Chunk("w1/s0", 0, 1),),
        (Chunk("w0/s0", 0, 1),),
    )


def test_cases_with_more_to_them_are_refused() -> None:
    """Two slots, two models at once, noise: the model would not be the whole truth."""
    case = small_case(0, stages=3)
    cluster = case.cluster
    for change, words in (
        ({"slots": 2}, "with one slot"),
        ({"sequences": 2}, "one sequence"),
        ({"memory_bytes": 1 << 40}, "holds more than one model"),
    ):
        devices = tuple(msgspec.structs.replace(d, **change) for d in cluster.devices)
        other = replace(case, cluster=msgspec.structs.replace(cluster, devices=devices))
        with pytest.raises(FateError, match=words):
            solve_exact(other)
    noisy = replace(case, truth=replace(case.truth, noise=0.1))
    with pytest.raises(FateError, match="noise"):
        solve_exact(noisy)
