"""Virtual time: a heap of events around the core."""

from collections.abc import Callable, Iterable
from heapq import heappop, heappush
from itertools import count

from fate.core.scheduler import Scheduler
from fate.domain.errors import ProtocolError
from fate.domain.graph import Graph
from fate.domain.messages import (
    ActivityId,
    Cancel,
    Cancelled,
    Command,
    Done,
    Drained,
    Dropped,
    Event,
    Expand,
    Failed,
    ItemDone,
    PlanLate,
    Readmitted,
    Record,
    RequestPlan,
    Reuse,
    Submitted,
    WakeAt,
    Woke,
    WorkflowEnded,
)
from fate.drivers.setup import Outcome, Setup, answer, in_order, record, workflow_ends
from fate.drivers.world import Truth, World
from fate.policy.base import Policy

#: Modelled seconds from a request to its plan: measured planning time would not be reproducible.
PLANNING_S = 0.002


def simulate(
    arrivals: Iterable[tuple[float, Graph]],
    setup: Setup,
    truth: Truth | None = None,
    *,
    planning_s: float = PLANNING_S,
    world: World | None = None,
    on_record: Callable[[Record], None] | None = None,
) -> Outcome:
    """Run workflows in virtual time until nothing is left to happen.

    Args:
        arrivals: (seconds, graph) in any order.
        setup: cluster, profile, policy, options, seed.
        truth: what really happens; None means exactly what the profile says.
        planning_s: modelled planning time.
        world: answers the commands in place of the one that `truth` makes.
        on_record: told of every step as it is taken.

    Returns:
        The outcome, with every step of the decision log.
    """
    world = world or World(setup.cluster, truth or Truth(profile=setup.profile), setup.seed)
    simulation = Simulation(setup.scheduler(), setup.policy, world, planning_s)
    for at_s, graph in arrivals:
        simulation.world.arrive(graph)
        simulation.push(at_s, Submitted(graph=graph))
    return simulation.run(on_record)


class Simulation:
    """A core, a policy and a world, with what is going to happen in order of time.

    The core may be in the middle of its work, if what runs there ends in events pushed before.
    """

    def __init__(
        self, core: Scheduler, policy: Policy, world: World, planning_s: float = PLANNING_S
    ) -> None:
        self.world = world
        self._core, self._policy, self._planning_s = core, policy, planning_s
        self._heap: list[tuple[float, int, Event]] = []
        self._sequence = count()
        self._arrivals_left = 0
        self._cancelled: set[ActivityId] = set()

    def push(self, at_s: float, event: Event) -> None:
        """Let an event happen at a time."""
        self._arrivals_left += isinstance(event, Submitted)
        heappush(self._heap, (at_s, next(self._sequence), event))

    def run(self, on_record: Callable[[Record], None] | None = None) -> Outcome:
        """Take steps until every workflow has ended."""
        records: list[Record] = []
        ended: dict[str, WorkflowEnded] = {}
        last_end_s = 0.0
        while self._heap and (self._arrivals_left or not self._core.finished):
            now_s, batch = self._next_batch()
            if not batch:
                continue
            commands = self._core.handle(batch, now_s)
            for command in commands:
                self._execute(command, now_s)
            records.append(record(now_s, batch, commands))
            if on_record is not None:
                on_record(records[-1])
            ends = workflow_ends(commands)
            if ends:
                ended.update(ends)
                last_end_s = now_s
        if not self._core.finished:
            raise ProtocolError("the simulation ran out of events with work left: a lost wake-up")
        return Outcome(makespan_s=last_end_s, records=tuple(records), ended=ended)

    def _next_batch(self) -> tuple[float, list[Event]]:
        now_s, batch = self._heap[0][0], list[Event]()
        while self._heap and self._heap[0][0] == now_s:
            event = heappop(self._heap)[2]
            if not self._prevented(event):
                batch.append(event)
        self._arrivals_left -= sum(isinstance(event, Submitted) for event in batch)
        return now_s, in_order(batch)

    def _prevented(self, event: Event) -> bool:
        """Whether an event would have followed from an activity that was cancelled before it."""
        outcome = isinstance(event, ItemDone | Done | Failed)
        return outcome and event.activity in self._cancelled

    def _execute(self, command: Command, now_s: float) -> None:
        match command:
            case RequestPlan():
                self._plan(command, now_s)
            case Expand():
                self.push(now_s, self.world.expand(command))
            case WakeAt(at_s=at_s):
                self.push(max(at_s, now_s), Woke(at_s=at_s))
            case Cancel(activity=activity):
                self._cancelled.add(activity)
                self.push(now_s, Cancelled(activity=activity))
            case Reuse() | Dropped() | Drained() | Readmitted() | WorkflowEnded():
                pass
            case _:
                for at_s, event in self.world.sample(command, now_s):
                    self.push(at_s, event)

    def _plan(self, request: RequestPlan, now_s: float) -> None:
        if request.grace_s < self._planning_s:
            self.push(now_s + request.grace_s, PlanLate(version=request.version))
        self.push(now_s + self._planning_s, answer(self._policy, request))
