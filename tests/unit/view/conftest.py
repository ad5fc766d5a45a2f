"""A hand-made run whose every figure is known, and simulated ones of any size."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from fate.cost.profile import guess_profile
from fate.domain import messages as m
from fate.domain.catalog import Cluster, Device, Model
from fate.domain.graph import Chunk, Graph, Segment, Stage
from fate.domain.plan import Memo, Plan, Search
from fate.domain.snapshot import Snapshot
from fate.drivers.setup import Outcome, Setup
from fate.drivers.simulate import simulate
from fate.policy.base import Lookahead
from fate.policy.greedy import greedy_plan


@dataclass(frozen=True)
class Facts:
    """What the views need of a header."""

    cluster: Cluster
    run: str = "r1"
    simulated: bool = False
    policy: str = "fate"
    seed: int = 0
    predicted_makespan_s: float | None = 9.5
    engines: tuple[dict[str, Any], ...] = ()
    workflow: str = "demo.yaml"


class Greedy:
    """The core's own policy, as a policy."""

    name, eager, inline = "greedy", False, False
    lookahead: Lookahead = "near"

    def plan(self, snapshot: Snapshot, memo: Memo | None) -> Plan:
        """Return the greedy plan."""
        return greedy_plan(snapshot)


def stage(name: str, model: str, *parents: str, **fields: Any) -> Stage:
    """Return an LLM stage, or a tool where there is no model."""
    return Stage(
        id=name,
        kind="llm" if model else "tool",
        model=model,
        parents=parents,
        prompt=(Segment("head", 60), Segment(f"text:{name}", 40)) if model else (),
        output_tokens=20.0,
        max_tokens=40,
        **fields,
    )


@pytest.fixture
def cluster() -> Cluster:
    """Two devices, each of which holds one of two models at a time."""
    return Cluster(
        devices=(
            Device(id="d0", engine="fake", memory_bytes=100),
            Device(id="d1", engine="fake", memory_bytes=100),
        ),
        models=(Model(id="a", weight_bytes=80), Model(id="b", weight_bytes=90)),
    )


@pytest.fixture
def facts(cluster: Cluster) -> Facts:
    """The header of the hand-made run."""
    return Facts(cluster)


@pytest.fixture
def records() -> list[m.Record]:
    """Loads, a map of two items on d0, a call on d1, a tool: 10 seconds."""
    graph = Graph(
        id="w",
        stages=(
            stage("notes", "a", mapped=True, items=2),
            stage("draft", "b", "notes"),
            stage("join", "", "draft"),
        ),
    )
    notes, draft = Chunk("w/notes", 0, 2), Chunk("w/draft", 0, 1)

    def planned(version: int, *orders: tuple[Chunk, ...]) -> m.Planned:
        search = Search(base="late-eft", objective_s=4.0)
        return m.Planned(version=version, plan=Plan(policy="fate", orders=orders, search=search))

    def at(at_s: float, *messages: Any) -> m.Record:
        commands = tuple(x for x in messages if isinstance(x, m.LoggedCommand))
        events = tuple(x for x in messages if not isinstance(x, m.LoggedCommand))
        return m.Record(at_s=at_s, events=events, commands=commands)

    def item(activity: int, number: int, cached: int, prefill_s: float, decode_s: float) -> Any:
        return m.ItemDone(
            activity=activity,
            item=number,
            prompt_tokens=100,
            cached_tokens=cached,
            output_tokens=20,
            prefill_s=prefill_s,
            decode_s=decode_s,
        )

    one, two = ((),), ((Segment("i0", 40),), (Segment("i1", 40),))
    return [
        at(0.0, m.Submitted(graph=graph), m.Expand(instance="w/notes")),
        at(0.0, m.Expanded(instance="w/notes", head=(Segment("head", 60),), tails=two)),
        at(0.5, planned(1, (notes,), ()), m.Load(activity=1, device="d0", model="a")),
        at(
            1.5,
            m.Done(activity=1, seconds=1.0),
            m.Call(activity=2, device="d0", model="a", chunk=notes, sequence=0),
        ),
        at(3.5, item(2, 0, 0, 0.5, 1.5)),
        at(5.5, item(2, 1, 60, 0.2, 1.8), m.Done(activity=2), m.Expand(instance="w/draft")),
        at(5.5, m.Expanded(instance="w/draft", head=(Segment("d", 100),), tails=one)),
        at(5.6, planned(2, (), (draft,)), m.Load(activity=3, device="d1", model="b")),
        at(
            7.6,
            m.Done(activity=3, seconds=2.0),
            m.Call(activity=4, device="d1", model="b", chunk=draft, sequence=0),
        ),
        at(9.6, item(4, 0, 0, 1.0, 1.0), m.Done(activity=4), m.Expand(instance="w/join")),
        at(
            9.6,
            m.Expanded(instance="w/join", tails=one),
            m.RunTool(activity=5, chunk=Chunk("w/join", 0, 1)),
        ),
        at(
            10.0,
            m.ItemDone(activity=5, item=0),
            m.Done(activity=5),
            m.WorkflowEnded(workflow="w", status="ok"),
        ),
    ]


@pytest.fixture
def run_many(cluster: Cluster) -> Callable[[int, int], tuple[Facts, Outcome]]:
    """Simulate some workflows of a map with `items` items, a critic and an end."""

    def run(workflows: int, items: int) -> tuple[Facts, Outcome]:
        stages = (
            stage("split", "", tool_s=0.1),
            stage("notes", "a", "split", mapped=True, items=items),
            stage("critic", "b", "notes"),
            stage("end", "a", "critic"),
        )
        setup = Setup(cluster=cluster, profile=guess_profile(cluster), policy=Greedy())
        arrivals = [(0.3 * n, Graph(id=f"w{n}", stages=stages)) for n in range(workflows)]
        return Facts(cluster, simulated=True, policy="greedy"), simulate(arrivals, setup)

    return run
