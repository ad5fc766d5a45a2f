"""The expected end of a run: a copy of the core that goes on in virtual time."""

import asyncio
from collections.abc import Callable, Sequence
from statistics import median

import pytest
from tests.graphs import chain, cluster, group, llm, mixed, profile

from fate.core.scheduler import Scheduler
from fate.domain.graph import Graph
from fate.domain.messages import Expand, PlanFailed, Record, Submitted
from fate.drivers.declared import Declared
from fate.drivers.outlook import Outlook
from fate.drivers.project import TooSlowError, freeze, project
from fate.drivers.setup import Setup
from fate.drivers.simulate import Simulation, simulate
from fate.drivers.world import Truth, World
from fate.policy.baselines.greedy import LateEft


def run(
    each: Callable[[Scheduler, float], None],
    length_noise: float = 0.0,
    graphs: Sequence[Graph] = (),
    devices: int = 2,
    park_bytes: int = 0,
) -> float:
    """Simulate work, by default the mixed one, showing the core after each step; return the end."""
    of = cluster(devices, park_bytes=park_bytes)
    costs = profile(of)
    setup = Setup(cluster=of, profile=costs, policy=LateEft())
    core = setup.scheduler()
    truth = Truth(profile=costs, length_noise=length_noise)
    simulation = Simulation(core, setup.policy, World(of, truth, seed=1))
    for graph in graphs or mixed():
        simulation.world.arrive(graph)
        simulation.push(0.0, Submitted(graph=graph))

    def step(record: Record) -> None:
        if not core.planning and not core.finished:
            each(core, record.at_s)

    return simulation.run(step).makespan_s


@pytest.mark.parametrize("park_bytes", [0, 1 << 20])
def test_where_nothing_can_be_decided_the_end_is_known_at_every_moment(park_bytes: int) -> None:
    """One device, one chain of calls: loads, caches, states on disk and calls are all continued."""
    points: list[float] = []
    makespan_s = run(
        lambda core, at_s: points.append(project(freeze(core), LateEft(), at_s)),
        graphs=[chain("x", "ABABCA")],
        devices=1,
        park_bytes=park_bytes,
    )
    assert len(points) > 12
    assert points == pytest.approx([makespan_s] * len(points), rel=1e-6)


def test_where_estimates_are_true_the_end_is_mostly_what_is_expected() -> None:
    """A look ahead may decide otherwise than the run will; the median of all looks is right."""
    points: list[float] = []
    makespan_s = run(lambda core, at_s: points.append(project(freeze(core), LateEft(), at_s)))
    assert median(points) == pytest.approx(makespan_s, rel=1e-3)


def test_the_core_itself_does_not_change() -> None:
    """Whoever looks ahead leaves no trace in what is looked at."""
    without = run(lambda _core, _at_s: None, length_noise=0.3)
    ends: list[float] = []
    looked = run(lambda core, at_s: ends.append(project(freeze(core), LateEft(), at_s)), 0.3)
    assert looked == without


def test_learned_lengths_bring_the_prediction_closer() -> None:
    """At the last fifth the error is below that of the first prediction."""
    points: list[tuple[float, float]] = []

    def look(core: Scheduler, at_s: float) -> None:
        points.append((at_s, project(freeze(core), LateEft(), at_s)))

    makespan_s = run(look, length_noise=0.4)
    first = abs(points[0][1] - makespan_s)
    late = [abs(end_s - makespan_s) for at_s, end_s in points if at_s > 0.8 * makespan_s]
    assert sum(late) / len(late) < first


def test_it_gives_up_when_it_takes_too_much_cpu() -> None:
    """A view must not cost more than it is worth."""
    frozen: list[bytes] = []
    run(lambda core, _at_s: frozen.append(freeze(core)))
    with pytest.raises(TooSlowError):
        project(frozen[0], LateEft(), 0.0, cpu_s=0.0)


def test_an_outlook_that_was_never_started_stops() -> None:
    """Stopping is idempotent, for it stands in a `finally`."""
    asyncio.run(Outlook(LateEft()).stop())


def test_long_chains_and_groups_are_copied() -> None:
    """A copy does not go deeper with every stage; scopes that are open go on in it."""
    body = (llm("g", "a", "A"), llm("g", "b", "A", ["a"]))
    graphs = [chain("c", "A" * 1500), Graph(id="g", stages=(group("s", *body, items=3),))]
    of = cluster()
    setup = Setup(cluster=of, profile=profile(of), policy=LateEft())
    core, declared = setup.scheduler(), Declared(lambda _what, _about: 0.0)
    for graph in graphs:
        declared.arrive(graph)
    asked = core.handle([Submitted(graph=graph) for graph in graphs], 0.0)
    while not core.planning:
        answers = [declared.expand(c.instance) for c in asked if isinstance(c, Expand)]
        asked = core.handle(answers, 0.0)
    core.handle([PlanFailed(version=1, reason="none")], 0.0)
    copied = project(freeze(core), setup.policy, 0.0)
    whole = simulate([(0.0, graph) for graph in graphs], setup).makespan_s
    assert copied == pytest.approx(whole, rel=0.01)
