"""Offline best: what a search that knows everything finds when it may take its time.

Annealing over (device, turn) of every stage, decoded by the projection that `foresight` plans with
(`policy.kernel.reference_project`), on the truth of a case instead of on estimates, all arrivals
known (`policy.foresight.annealing`).

What it found is played through the core: that makespan counts, not the projected one.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np

from fate.bench.case import Case, run_case
from fate.bench.played import PlayedPriorities
from fate.domain.errors import FateError
from fate.domain.graph import Chunk, Graph, Stage
from fate.domain.messages import Command, Expand, Planned, RequestPlan, Submitted
from fate.domain.snapshot import Snapshot
from fate.drivers.setup import Outcome, Setup, in_order
from fate.drivers.world import World, answer_tokens
from fate.policy.foresight.annealing import anneal
from fate.policy.kernel.backend import open_kernel
from fate.policy.kernel.problem import Weights
from fate.policy.kernel.reference_project import ANY, Aims, Places
from fate.policy.kernel.whole import Valued
from fate.view.fold import fold
from fate.view.history import History

#: Plans that annealing values for each one that `foresight` has valued in its run, and at least.
FACTOR, LEAST = 10, 20_000
#: Larger cases have no offline best: it would take too long.
MAX_STAGES = 250
#: The name of the offline best among policies, and of the policy that annealing starts from.
OFFLINE, FORESIGHT = "offline-best", "foresight"

#: Device and turn (lowest first) of each chunk, by what it is called.
Schedule = Mapping[str, tuple[int, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Offline:
    """What was found: the schedule, what it simulates to, and what it was projected to.

    `evaluations` were made in all.
    """

    schedule: Schedule
    outcome: Outcome
    projected_s: float
    evaluations: int


def clairvoyant(case: Case) -> Case:
    """Return a case in which what is declared and believed is what happens.

    Raises:
        FateError: the case draws what happens, so that nobody can know it.
    """
    truth = case.truth
    if truth.noise or truth.length_noise or truth.failure_rate or truth.refusal_rate:
        raise FateError("the offline best is one of cases without noise")
    known = {g.id: _written(truth.actual.get(g.id, g)) for _, g in case.arrivals}
    return dataclasses.replace(
        case,
        arrivals=tuple((at_s, known[g.id]) for at_s, g in case.arrivals),
        profile=truth.profile,
        truth=dataclasses.replace(truth, actual=known),
    )


def _written(graph: Graph) -> Graph:
    """Return a graph whose answers are expected to have the tokens they will have."""
    return msgspec.structs.replace(graph, stages=tuple(map(_whole_tokens, graph.stages)))


def _whole_tokens(stage: Stage) -> Stage:
    tokens = float(answer_tokens(stage, 1.0))
    body = tuple(map(_whole_tokens, stage.body))
    return msgspec.structs.replace(stage, output_tokens=tokens, body=body)


def offline_best(case: Case, start: Schedule, *, evaluations: int, seed: int = 0) -> Offline:
    """Anneal from a schedule; return the best one found, played.

    Args:
        case: without noise.
        start: a schedule to warm up from; what it leaves out may run anywhere, last.
        evaluations: projections in all.
        seed: of the random changes.
    """
    known = clairvoyant(case)
    snapshot = whole_snapshot(known)
    whole = open_kernel(snapshot, Weights(depth=0)).whole(Aims(mean=0.0, tail=0.0))
    places = _places(snapshot, start)
    draw = np.random.default_rng(seed)
    warm = Valued(places, whole.project(places)[1])
    best, value_s = anneal(whole, warm, evaluations, draw)
    schedule = _schedule(snapshot, best)
    return Offline(
        schedule=schedule,
        outcome=play(known, schedule),
        projected_s=value_s,
        evaluations=evaluations,
    )


def best_known(case: Case, outcomes: Mapping[str, Outcome], *, factor: int = FACTOR) -> Outcome:
    """Return the best run of a case: of policies, or of annealing from what `foresight` did.

    Where the truth is drawn, or a case is larger than `MAX_STAGES`, that of the policies.

    Args:
        case: the case.
        outcomes: runs under policies, `foresight` among them.
        factor: how many times as many plans as `foresight` valued the annealing may value.
    """
    best = min(outcomes.values(), key=lambda outcome: outcome.makespan_s)
    try:
        known = clairvoyant(case)
    except FateError:
        return best
    if sum(len(graph.stages) for _, graph in known.arrivals) > MAX_STAGES:
        return best
    start = outcomes.get(FORESIGHT, best)
    found = offline_best(
        case,
        schedule_of(case, fold(case.cluster, start.records)),
        evaluations=max(factor * valued(start), LEAST),
    )
    return min(best, found.outcome, key=lambda outcome: outcome.makespan_s)


def valued(outcome: Outcome) -> int:
    """Return how many plans a run's policy has run to completion in all its searches."""
    plans = [e.plan for r in outcome.records for e in r.events if isinstance(e, Planned)]
    return sum(plan.search.moves for plan in plans)


def play(case: Case, schedule: Schedule) -> Outcome:
    """Run a schedule in the simulator."""
    place = {name: (device, -turn) for name, (device, turn) in schedule.items()}
    return run_case(case, PlayedPriorities(place))


def schedule_of(case: Case, history: History) -> Schedule:
    """Return where a run's calls ran, and in which order they began."""
    index = {device.id: d for d, device in enumerate(case.cluster.devices)}
    found: dict[str, tuple[int, float]] = {}
    for turn, bar in enumerate(history.bars):
        if bar.kind == "call":
            name = str(Chunk(bar.instance, bar.start, bar.stop))
            found.setdefault(name, (index[bar.device], float(turn)))
    return found


def whole_snapshot(case: Case) -> Snapshot:
    """Return the picture of all stages of all workflows before anything runs.

    Workflows that come later are there too, their stages released when they come. All arrive at
    once in a core of their own: what they turn out to be is as the case's world has it.
    """
    setup = Setup(
        cluster=case.cluster,
        profile=case.profile,
        policy=PlayedPriorities({}, lookahead="all"),
        options=case.options,
        seed=case.seed,
    )
    core, world = setup.scheduler(), World(case.cluster, case.truth, case.seed)
    for _, graph in case.arrivals:
        world.arrive(graph)
    commands: Sequence[Command] = core.handle(
        in_order([Submitted(graph=graph) for _, graph in case.arrivals]), 0.0
    )
    request = None
    while request is None and commands:
        answers = [world.expand(command) for command in commands if isinstance(command, Expand)]
        commands = core.handle(in_order(answers), 0.0)
        request = next((c for c in commands if isinstance(c, RequestPlan)), None)
    if request is None:
        raise FateError("nothing of this case is ready when it begins")
    return _released(case, request.snapshot)


def _released(case: Case, snapshot: Snapshot) -> Snapshot:
    arrived = {graph.id: at_s for at_s, graph in case.arrivals}
    first_s = min(arrived.values())
    at_s = [arrived[name.rpartition("/")[0]] - first_s for name in snapshot.node_names]
    return dataclasses.replace(
        snapshot, released_at_s=np.maximum(snapshot.released_at_s, np.array(at_s))
    )


def _schedule(snapshot: Snapshot, places: Places) -> Schedule:
    """Return a plan by name, with equal turns told apart as the projection does: by node."""
    order = sorted(range(len(places.turn)), key=lambda node: (places.turn[node], node))
    return {
        snapshot.node_names[node]: (places.device[node], float(rank))
        for rank, node in enumerate(order)
    }


def _places(snapshot: Snapshot, start: Schedule) -> Places:
    last = float(len(start))
    found = [start.get(name, (ANY, last)) for name in snapshot.node_names]
    return Places([device for device, _ in found], [turn for _, turn in found])
