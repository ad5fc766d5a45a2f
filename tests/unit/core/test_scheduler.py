"""The core, driven by hand: what each event leads to."""

import pytest

from fate.core import invariants
from fate.core.options import SchedulerOptions
from fate.core.scheduler import Scheduler
from fate.domain.catalog import Cluster
from fate.domain.errors import NoFeasibleDeviceError, ProtocolError
from fate.domain.graph import Chunk, Graph, Segment, Stage
from fate.domain.messages import (
    Call,
    Cancel,
    CancelAll,
    Cancelled,
    Command,
    DeviceLost,
    DeviceReady,
    Done,
    Event,
    Expand,
    Expanded,
    ExpandFailed,
    Failed,
    ItemDone,
    Load,
    PlanFailed,
    PlanLate,
    Planned,
    RequestPlan,
    RunTool,
    Submitted,
    Unload,
    WakeAt,
    Woke,
    WorkflowEnded,
)
from fate.domain.plan import Plan
from tests.graphs import chain, cluster, llm, map_reduce, profile


class Driver:
    """Feeds a core and keeps what it answered."""

    def __init__(self, on: Cluster | None = None, **options: object) -> None:
        self.cluster = on or cluster()
        self.core = Scheduler(
            self.cluster, profile(self.cluster), SchedulerOptions(**options)  # pyright: ignore[reportArgumentType]
        )
        self.now_s = 0.0
        self.out: list[Command] = []

    def send(self, *events: Event) -> list[Command]:
        self.now_s += 1.0
        self.out = self.core.handle(events, self.now_s)
        invariants.check(self.core)
        return self.out

    def submit(self, graph: Graph) -> list[Command]:
        self.send(Submitted(graph=graph))
        return self.expand_all(graph)

    def expand_all(self, graph: Graph) -> list[Command]:
        stages = {graph.instance(stage.id): stage for stage in graph.stages}
        wanted = [command.instance for command in self.out if isinstance(command, Expand)]
        return self.send(
            *[
                Expanded(
                    instance=name,
                    head=stages[name].prompt[:1],
                    tails=tuple(
                        (Segment(f"{name}-{i}", 50),) for i in range(stages[name].items)
                    ),
                )
                for name in wanted
            ]
        )

    def plan(self, *orders: tuple[Chunk, ...]) -> list[Command]:
        version = self.one(RequestPlan).version
        return self.send(Planned(version=version, plan=Plan(policy="test", orders=orders)))

    def one[C: Command](self, kind: type[C]) -> C:
        found = [command for command in self.out if isinstance(command, kind)]
        assert len(found) == 1, f"{len(found)} x {kind.__name__} in {self.out}"
        return found[0]


def only(workflow: str = "w") -> Graph:
    return chain(workflow, "A")


S0 = Chunk("w/s0", 0, 1)


def test_a_call_runs_through_load_and_call() -> None:
    """Submit, expand, plan, load, call, done: one stage's life."""
    driver = Driver()
    driver.submit(only())
    assert [c.instance for c in driver.one(RequestPlan).snapshot.chunks] == ["w/s0"]
    load = Driver.one(driver, RequestPlan) and driver.plan((S0,), ())[0]
    assert isinstance(load, Load)
    assert load.device == "d0" and load.model == "A"
    call = driver.send(Done(activity=load.activity, seconds=0.4))[0]
    assert isinstance(call, Call)
    assert call.chunk == S0 and call.sequence == 0
    driver.send(
        ItemDone(activity=call.activity, item=0, output_tokens=32), Done(activity=call.activity)
    )
    assert driver.one(WorkflowEnded).status == "ok"
    assert driver.core.finished
