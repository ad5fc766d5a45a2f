"""A run's workload, put before other policies."""

import pytest
from msgspec.structs import replace
from tests.graphs import MIB, cluster, mixed, profile

from fate.domain.faults import Fault
from fate.domain.graph import Graph, Stage
from fate.domain.messages import DeviceLost, DeviceReady, Record, Resumed, Skipped, Submitted
from fate.drivers.faulty import simulate_faults
from fate.drivers.recorded import carry_over, learned, recording, resimulate
from fate.drivers.setup import Outcome, Setup
from fate.drivers.simulate import simulate
from fate.drivers.world import Truth
from fate.policy.baselines.greedy import LateEft
from fate.registry import build
from fate.view.fold import fold


def setup() -> Setup:
    """Two devices under a policy without a search."""
    of = cluster()
    return Setup(cluster=of, profile=profile(of), policy=LateEft())


def noisy() -> Outcome:
    """A run whose answers are longer and shorter than declared."""
    graphs = [(0.3 * n, graph) for n, graph in enumerate(mixed())]
    truth = Truth(profile=setup().profile, length_noise=0.5)
    return simulate(graphs, setup(), truth)


def test_the_own_policy_meets_the_same_run_again() -> None:
    """Arrivals, prompts and true lengths are the run's: so is everything that follows."""
    run = noisy()
    again = resimulate(recording(run.records), setup(), setup().profile)
    assert again.records == run.records


def test_another_policy_has_the_same_work_to_do() -> None:
    """Every item with its tokens; only who runs it where differs."""
    run = noisy()
    of = cluster()
    other = Setup(cluster=of, profile=profile(of), policy=build("policy", "round-robin"))
    again = resimulate(recording(run.records), other, profile(of))
    mine, theirs = (fold(of, outcome.records) for outcome in (run, again))
    assert again.records != run.records
    assert mine.counts.output_tokens == theirs.counts.output_tokens
    assert mine.counts.prompt_tokens == theirs.counts.prompt_tokens


def test_what_a_run_learned_is_what_things_cost() -> None:
    """A world that is twice as slow as the profile is found out."""
    of = cluster()
    slow = Truth(profile=profile(of, 2.0))
    run = simulate([(0.0, graph) for graph in mixed()], setup(), slow)
    found = learned(run.records, of, profile(of))
    costs = [(found.costs[d.id]["A"], profile(of).costs[d.id]["A"]) for d in of.devices]
    assert [new.decode[1] / old.decode[1] for new, old in costs] == pytest.approx([2.0, 2.0])
    again = resimulate(recording(run.records), setup(), found)
    assert again.makespan_s == pytest.approx(run.makespan_s, rel=1e-3)


def test_costs_are_carried_to_devices_alike() -> None:
    """A third device of the same engine costs what the first does; an unknown one is guessed."""
    two, three = cluster(2), cluster(3)
    moved = carry_over(profile(two, 3.0), two, three)
    assert moved.costs["d2"] == moved.costs["d0"] == profile(two, 3.0).costs["d0"]
    small = cluster(2, memory_mib=40)
    assert list(carry_over(profile(two), two, small).costs["d0"]) == ["A"]
    assert small.devices[0].memory_bytes == 40 * MIB


def test_groups_loops_and_conditions_turn_out_as_they_did() -> None:
    """Whatever chance decided in the run is decided; a different seed changes nothing."""
    check = Stage(id="check", kind="llm", model="B", parents=("notes",), output_tokens=9.0)
    notes = Stage(id="notes", kind="llm", model="A", output_tokens=20.0, probability=0.5)
    study = Stage(id="study", kind="group", items=12, body=(notes, check))
    again = Stage(id="again", kind="llm", model="C", output_tokens=12.0)
    loop = Stage(id="again", kind="group", loop=True, rounds=3.0, body=(again,), parents=("study",))
    graph = Graph(id="w", stages=(study, loop))
    truth = Truth(profile=setup().profile, length_noise=0.5)
    run = simulate([(0.0, graph)], setup(), truth)
    skipped = [e for r in run.records for e in r.events if isinstance(e, Skipped)]
    assert 0 < len(skipped) < 12
    other = reseeded(setup(), seed=99)
    assert resimulate(recording(run.records), other, setup().profile).records == run.records


def test_what_went_wrong_goes_wrong_again() -> None:
    """Attempts fail as often, a killed device is lost when and as long as it was."""
    kills = (
        Fault(kind="kill", device="d0", at_s=1.25, for_s=2.0),
        Fault(kind="kill", device="d1", at_s=6.5, for_s=1.0),
    )
    truth = Truth(profile=setup().profile, failure_rate=0.1)
    graphs = [(0.3 * n, graph) for n, graph in enumerate(mixed())]
    run = simulate_faults(graphs, setup(), kills, truth)
    work = recording(run.records)
    assert run.status == "ok" and work.mishaps.failed > 0
    assert tuple(work.mishaps.losses) == kills
    assert resimulate(work, setup(), setup().profile).records == run.records
    of = cluster()
    other = Setup(cluster=of, profile=profile(of), policy=build("policy", "round-robin"))
    again = fold(of, resimulate(work, other, profile(of)).records)
    assert again.status == "ok" and again.counts.device_losses == 2
    assert again.counts.failed_attempts >= work.mishaps.failed


def test_a_device_that_never_came_back_stays_away() -> None:
    """Nobody waits for it; a cluster without it loses nothing."""
    lost = DeviceLost(device="d0", reason="gone")
    gone = Record(at_s=1.0, events=(lost,))
    final = Record(at_s=4.0, events=(replace(lost, final=True),))
    work = recording([*noisy().records, gone, final])
    assert [(f.at_s, f.for_s) for f in work.mishaps.losses] == [(1.0, float("inf"))]
    again = resimulate(work, setup(), setup().profile)
    events = [event for record in again.records for event in record.events]
    assert [e.final for e in events if isinstance(e, DeviceLost)] == [True]
    assert not any(isinstance(event, DeviceReady) for event in events)
    assert work.mishaps.on(["d1"]) == ()


def test_a_workflow_that_began_afresh_is_one_workflow() -> None:
    """With the answers of the first time; later rounds are added."""
    first = noisy().records
    again = Record(at_s=99.0, events=(Resumed(afresh=True), Submitted(graph=mixed()[0])))
    work, whole = recording([*first, again, *first]), recording(first)
    assert (work.arrivals, work.answers) == (whole.arrivals, whole.answers)


def reseeded(of: Setup, seed: int) -> Setup:
    """The same under another seed."""
    return Setup(
        cluster=of.cluster, profile=of.profile, policy=of.policy, options=of.options, seed=seed
    )
