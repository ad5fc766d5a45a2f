"""What the calls of a case are and what they take, before anybody has decided anything.

Bounds and exact solutions are about the truth of a case: the graphs as its world reveals them, at
its world's durations. Nothing here is a policy's to see.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from math import inf
from typing import Literal, TypeAlias

import msgspec

from fate.bench.case import Case
from fate.cost.profile import CallCosts, guess_costs
from fate.cost.terms import decode_seconds, prefill_seconds
from fate.domain.graph import InstanceId, Path, Segment, Stage, item_key, path_tokens
from fate.domain.messages import Expanded, Revealed
from fate.drivers.declared import Declared
from fate.drivers.world import Physics, declared_in

#: `free` takes no time: a call that is made once for several.
NodeKind: TypeAlias = Literal["call", "tool", "free"]


#: What a tool leaves in a cache.
NO_ANSWER = Segment("", 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One item of one execution of a stage.

    Attributes:
        instance, item: what it is.
        arrival_s: when its workflow comes.
        parents: positions of the nodes that it starts from, all before its own.
        needed: how many of them must be done; fewer than all after a join.
        optional: it may be given up once a join is served.
        model: index in the cluster, -1 for a tool.
        prompt, answer: as the world has them.
        sent_bytes: what it leaves for its children to gather, from each of its parents by position.
        alone: the only item of its stage.
        tool_s: seconds on the host.
    """

    instance: InstanceId
    item: int
    kind: NodeKind
    arrival_s: float
    parents: tuple[int, ...]
    needed: int
    optional: bool = False
    model: int = -1
    prompt: Path = ()
    answer: Segment = NO_ANSWER
    output_bytes: int = 0
    gathers: tuple[int, ...] = ()
    alone: bool = True
    tool_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Priced:
    """A case's nodes in topological order, and the true seconds of what may happen to them."""

    case: Case
    nodes: tuple[Node, ...]
    physics: Physics
    costs: tuple[tuple[CallCosts | None, ...], ...]
    link: dict[tuple[int, int], tuple[float, float]]

    def without_loads(self) -> "Priced":
        """Return the same with loads and unloads for free: their noise depends on the attempt."""
        free = tuple(
            tuple(
                None if cell is None else msgspec.structs.replace(cell, load_s=0.0, unload_s=0.0)
                for cell in row
            )
            for row in self.costs
        )
        return replace(self, costs=free)

    @property
    def devices(self) -> range:
        """Indices of the devices."""
        return range(len(self.case.cluster.devices))

    def factor(self, node: int, device: int) -> float:
        """Return the noise on a call's duration, with the least slowdown of any concurrency."""
        name = self.case.cluster.devices[device].id
        slowdown = self.case.truth.profile.slowdown.get(name, (1.0,))
        return self.physics.factor("call", self.nodes[node].answer.key, name) * min(slowdown)

    def call_seconds(self, node: int, device: int, cached: float) -> float:
        """Return the seconds of prefill and decode behind cached tokens; inf where it cannot run.

        In the order of operations of the simulator's world, so that sums agree to the last bit.
        """
        costs = self.costs[device][self.nodes[node].model]
        if costs is None:
            return inf
        tokens, factor = path_tokens(self.nodes[node].prompt), self.factor(node, device)
        answer = self.nodes[node].answer.tokens
        prefill_s = prefill_seconds(float(tokens) - cached, float(cached), *costs.prefill) * factor
        decode_s = decode_seconds(float(answer), float(tokens), *costs.decode) * factor
        return prefill_s + decode_s

    def load_seconds(self, model: int, device: int) -> float:
        """Return the seconds of a load, 0 where nothing is ever loaded, inf where it cannot be."""
        costs = self.costs[device][model]
        if costs is None:
            return inf
        return costs.load_s if self.case.cluster.devices[device].managed else 0.0

    def unload_seconds(self, model: int, device: int) -> float:
        """Return the seconds of an unload."""
        costs = self.costs[device][model]
        return inf if costs is None else costs.unload_s

    def transfer_seconds(self, parent: int, source: int, target: int) -> float:
        """Return the seconds to gather a node's output on another device; 0 on the same one."""
        size, link = self.nodes[parent].output_bytes, self.link.get((source, target))
        if not size or source == target or link is None:
            return 0.0
        return link[0] + size / link[1]


def priced(case: Case) -> Priced:
    """Return what a case's calls are, and what they take."""
    cluster, profile = case.cluster, case.truth.profile
    index = {device.id: d for d, device in enumerate(cluster.devices)}
    physics = Physics(cluster, case.truth, case.seed)
    unfolding = _Unfolding(case, physics, declared_in(case.truth, physics))
    for at_s, graph in case.arrivals:
        actual = case.truth.actual.get(graph.id, graph)
        unfolding.declared.arrive(actual)
        unfolding.impatient = _joins(actual.stages)
        unfolding.stages(graph.id, actual.stages, at_s, ())
        unfolding.last(graph.id, actual.stages)
    return Priced(
        case,
        tuple(_once(unfolding.nodes) if case.truth.reuse else unfolding.nodes),
        physics,
        tuple(
            tuple(
                profile.costs.get(device.id, {}).get(model.id) or guess_costs(model)
                if cluster.supports(device, model)
                else None
                for model in cluster.models
            )
            for device in cluster.devices
        ),
        {
            (index[link.source], index[link.target]): (link.latency_s, link.bytes_per_s)
            for link in cluster.links
        },
    )


def _joins(stages: Iterable[Stage]) -> bool:
    """Whether some stage does not wait for all its parents."""
    return any(stage.join or _joins(stage.body) for stage in stages)


def _once(nodes: list[Node]) -> Iterator[Node]:
    """Yield nodes without the work of calls that are made for several; who makes it is open."""
    asked = [(node.model, *[segment.key for segment in node.prompt]) for node in nodes]
    times = Counter(asked)
    for node, key in zip(nodes, asked, strict=True):
        shared = node.kind == "call" and times[key] > 1
        yield replace(node, kind="free") if shared else node


@dataclass(slots=True)
class _Unfolding:
    """Asks the world what stages turn out to be, in topological order."""

    case: Case
    physics: Physics
    declared: Declared
    nodes: list[Node] = field(default_factory=list[Node])
    impatient: bool = False
    _at: dict[InstanceId, tuple[int, ...]] = field(
        default_factory=dict[InstanceId, tuple[int, ...]]
    )

    def stages(
        self, workflow: str, stages: Iterable[Stage], at_s: float, around: tuple[int, ...]
    ) -> tuple[int, ...]:
        """Unfold the stages of one scope, which starts from `around`; return its last nodes."""
        found = list(stages)
        for stage in found:
            instance = f"{workflow}/{stage.id}"
            parents = [self._at[f"{workflow}/{parent}"] for parent in stage.parents]
            skipped = bool(parents) and not any(parents)
            sources = tuple(dict.fromkeys(n for at in parents for n in at)) or around
            needed = len(sources)
            if (
                stage.join and stage.parents
            ):  # what counts as done of a parent without calls is open
                own = [self._runs(f"{workflow}/{parent}") for parent in stage.parents]
                needed = stage.join if all(own) else 0
            self._at[instance] = (
                () if skipped else self._unfold(instance, stage, at_s, sources, needed)
            )
        named = {parent for stage in found for parent in stage.parents}
        ends = [self._at[f"{workflow}/{stage.id}"] for stage in found if stage.id not in named]
        return tuple(dict.fromkeys(n for end in ends for n in end)) or around

    def last(self, workflow: str, stages: Iterable[Stage]) -> None:
        """Stages that nothing starts from are never given up."""
        named = {parent for stage in stages for parent in stage.parents}
        ends = [f"{workflow}/{stage.id}" for stage in stages if stage.id not in named]
        for instance in ends:
            for n in self._at[instance] if self._runs(instance) else ():
                self.nodes[n] = replace(self.nodes[n], optional=False)

    def _runs(self, instance: InstanceId) -> bool:
        """Whether an execution has nodes of its own."""
        at = self._at[instance]
        return bool(at) and self.nodes[at[0]].instance == instance

    def _unfold(
        self, instance: InstanceId, stage: Stage, at_s: float, sources: tuple[int, ...], needed: int
    ) -> tuple[int, ...]:
        answer = self.declared.expand(instance)
        if isinstance(answer, Expanded):
            items = [answer.head + tail for tail in answer.tails]
            made = [self._node(instance, k, stage, prompt, at_s) for k, prompt in enumerate(items)]
            direct = {f"{instance.rpartition('/')[0]}/{parent}" for parent in stage.parents}
            gathers = tuple(n for n in sources if self.nodes[n].instance in direct)
            first = len(self.nodes)
            for node in made:
                alone = len(made) == 1
                whole = replace(node, parents=sources, needed=needed, gathers=gathers, alone=alone)
                self.nodes.append(whole)
            return tuple(range(first, len(self.nodes))) or sources
        if not isinstance(answer, Revealed):
            return ()
        ends, before = list[int](), sources
        while answer.scopes:
            workflow = instance.rpartition("/")[0]
            rounds = [self.stages(workflow, scope.stages, at_s, before) for scope in answer.scopes]
            ends = [n for end in rounds for n in end] if stage.loop else [*ends, *sum(rounds, ())]
            if not stage.loop:
                break
            before = tuple(ends)
            following = self.declared.expand(instance)
            assert isinstance(following, Revealed)
            answer = following
        return tuple(dict.fromkeys(ends)) or sources

    def _node(
        self, instance: InstanceId, item: int, stage: Stage, prompt: Path, at_s: float
    ) -> Node:
        if stage.kind == "tool":
            seconds = stage.tool_s * self.physics.factor("tool", instance, str(item))
            return Node(
                instance=instance,
                item=item,
                kind="tool",
                arrival_s=at_s,
                parents=(),
                needed=0,
                optional=self.impatient,
                tool_s=seconds,
            )
        tokens = self.physics.length(stage, instance, item)
        models = [model.id for model in self.case.cluster.models]
        return Node(
            instance=instance,
            item=item,
            kind="call",
            arrival_s=at_s,
            parents=(),
            needed=0,
            optional=self.impatient,
            model=models.index(stage.model),
            prompt=prompt,
            answer=Segment(item_key(instance, item), tokens),
            output_bytes=stage.output_bytes,
        )
