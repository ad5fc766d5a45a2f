"""The guards let every honest run pass, and name what is wrong with any other."""

import dataclasses
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.graphs import chain, cluster, mixed, profile
from tests.random_graphs import graphs, named

from fate.bench.case import Case, run_case
from fate.bench.guards import GuardError, check
from fate.domain.catalog import Cluster
from fate.domain.graph import Graph, Stage
from fate.domain.messages import Event, ItemDone, Submitted
from fate.drivers.setup import Outcome
from fate.drivers.world import Truth
from fate.policy.baselines.greedy import LateEft
from fate.policy.baselines.queueing import round_robin_idle


def a_case(works: list[Graph], on: Cluster, truth: Truth | None = None) -> Case:
    """Workflows that come half a second apart."""
    known = profile(on)
    return Case(
        arrivals=tuple((0.5 * number, graph) for number, graph in enumerate(works)),
        cluster=on,
        profile=known,
        truth=truth or Truth(profile=known),
        seed=1,
    )


CASE = a_case(mixed(), cluster())


def told(outcome: Outcome, event: Callable[[Event], Event | None]) -> Outcome:
    """Return an outcome whose log is told differently; None leaves an event out."""
    records = tuple(
        replace(record, events=tuple(e for e in map(event, record.events) if e is not None))
        for record in outcome.records
    )
    return Outcome(makespan_s=outcome.makespan_s, records=records, ended=outcome.ended)


@given(
    shapes=st.lists(graphs(), min_size=1, max_size=3),
    noise=st.sampled_from([0.0, 0.5]),
    failure_rate=st.sampled_from([0.0, 0.1]),
    reuse=st.booleans(),
    slots=st.sampled_from([1, 2]),
)
def test_honest_runs_pass(
    shapes: list[tuple[Stage, ...]], noise: float, failure_rate: float, reuse: bool, slots: int
) -> None:
    """Groups, joins, skips, retries and twins break no guard."""
    works = [named(f"w{number}", shape) for number, shape in enumerate(shapes)]
    on = cluster(slots=slots, memory_mib=100)
    truth = Truth(profile=profile(on), noise=noise, failure_rate=failure_rate, reuse=reuse)
    case = a_case(works, on, truth)
    outcome = run_case(case, LateEft())
    assert check(case, outcome).makespan_s == outcome.makespan_s


def test_an_item_that_is_done_twice_is_found() -> None:
    """Twice in the log is once too often."""
    outcome = run_case(CASE, LateEft())
    last = next(r for r in reversed(outcome.records) if any(_is_item(e) for e in r.events))
    again = tuple(
        replace(last, events=last.events * 2) if r is last else r for r in outcome.records
    )
    twice = Outcome(makespan_s=outcome.makespan_s, records=again, ended=outcome.ended)
    with pytest.raises(GuardError, match="was finished 2 times"):
        check(CASE, twice)


def test_an_item_that_is_missing_is_found() -> None:
    """A workflow cannot be well without one of its items."""
    outcome = run_case(CASE, LateEft())
    *_, gone = (e for r in outcome.records for e in r.events if _is_item(e))
    with pytest.raises(GuardError, match="has no end, yet its workflow has"):
        check(CASE, told(outcome, lambda e: None if e is gone else e))


def test_a_call_before_its_parents_is_found() -> None:
    """A graph with an edge more than the one that ran is not what ran."""
    later = {"critic1": ("notes", "critic0")}
    case = a_case(mixed()[:1], cluster(devices=4, memory_mib=200))

    def submitted(event: Event) -> Event:
        if not isinstance(event, Submitted) or event.graph.id != "m0":
            return event
        stages = [replace(s, parents=later.get(s.id, s.parents)) for s in event.graph.stages]
        return replace(event, graph=replace(event.graph, stages=tuple(stages)))

    with pytest.raises(GuardError, match=r"m0/critic1 begins at .* with 1 of 2 parents done"):
        check(case, told(run_case(case, round_robin_idle()), submitted))


def test_a_call_that_makes_its_parent_needless_is_found() -> None:
    """A stage that waits for all its parents cannot begin and let one of them go."""
    graph = chain("x", "AB")
    case = a_case([graph], cluster())
    cut = replace(graph, stages=(graph.stages[0], replace(graph.stages[1], parents=())))
    outcome = run_case(a_case([cut], cluster()), LateEft())
    whole = told(outcome, lambda e: replace(e, graph=graph) if isinstance(e, Submitted) else e)
    with pytest.raises(GuardError, match=r"x/s1 begins at .* with 0 of 1 parents done"):
        check(case, whole)


@pytest.mark.parametrize(
    ("what", "on"),
    [("at once", cluster(memory_mib=200)), ("held", cluster(slots=2, memory_mib=70))],
)
def test_more_than_a_device_can_do_is_found(what: str, on: Cluster) -> None:
    """Slots and memory are those of the case, not those that the run made use of."""
    outcome = run_case(a_case(mixed(), cluster(slots=2, memory_mib=200)), LateEft())
    with pytest.raises(GuardError, match=what):
        check(a_case(mixed(), on), outcome)


def test_a_run_that_is_too_short_is_found() -> None:
    """Nothing ends before a lower bound; being as quick as the optimum is allowed."""
    outcome = run_case(CASE, LateEft())
    check(CASE, outcome, at_least_s=outcome.makespan_s)
    with pytest.raises(GuardError, match="is below"):
        check(CASE, outcome, at_least_s=1.001 * outcome.makespan_s)


def test_other_arrivals_are_found() -> None:
    """A workflow comes when the case says so, and all of them do."""
    outcome = run_case(CASE, LateEft())
    first, *rest = CASE.arrivals
    with pytest.raises(GuardError, match=r"m0 came at 0.0 s, not at 0.1 s"):
        check(_with(arrivals=((0.1, first[1]), *rest)), outcome)
    with pytest.raises(GuardError, match="differ"):
        check(_with(arrivals=tuple(rest)), outcome)


def _with(arrivals: tuple[tuple[float, Graph], ...]) -> Case:
    return dataclasses.replace(CASE, arrivals=arrivals)


def _is_item(event: Event) -> bool:
    return isinstance(event, ItemDone)
