"""A run's workload, read from its journal and put before other policies in virtual time.

What does not depend on who decided is kept: the graphs and when they came, prompts and their
segments, what groups turned out to be, the true lengths of answers, the seconds of tools, what
calls and loads cost, and what went wrong (see `mishaps`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from msgspec.structs import replace

from fate.cost.estimates import scaled
from fate.cost.profile import CallCosts, Profile, guess_costs
from fate.cost.terms import decode_seconds, prefill_seconds
from fate.domain.catalog import Cluster, Device
from fate.domain.graph import Graph, InstanceId, Stage
from fate.domain.messages import (
    ActivityId,
    Call,
    Cancelled,
    Done,
    Event,
    Expand,
    Expanded,
    Failed,
    ItemDone,
    Load,
    Record,
    Revealed,
    RunTool,
    Skipped,
    Submitted,
    Unload,
)
from fate.drivers.faulty import simulate_faults
from fate.drivers.mishaps import Item, Mishaps, mishaps
from fate.drivers.setup import Outcome, Setup
from fate.drivers.slow import Spell, during, slow_spells
from fate.drivers.world import Physics, Truth, World


@dataclass(slots=True)
class Recording:
    """The workload of a run.

    `arrivals` are (seconds, graph); `answers` what each `Expand` of an instance was answered, in
    order; `tokens` the output tokens and `tool_s` the seconds of each finished item. A workflow
    that began afresh counts once, with what it was answered the first time.
    """

    arrivals: list[tuple[float, Graph]] = field(default_factory=list[tuple[float, Graph]])
    answers: dict[InstanceId, list[Expanded | Skipped | Revealed]] = field(
        default_factory=dict[InstanceId, list[Expanded | Skipped | Revealed]]
    )
    tokens: dict[Item, int] = field(default_factory=dict[Item, int])
    tool_s: dict[Item, float] = field(default_factory=dict[Item, float])
    mishaps: Mishaps = field(default_factory=Mishaps)
    _turns: dict[InstanceId, int] = field(default_factory=dict[InstanceId, int])

    def submitted(self, graph: Graph, now_s: float) -> None:
        """A workflow arrives, or begins afresh."""
        prefix = f"{graph.id}/"
        for instance in [name for name in self._turns if name.startswith(prefix)]:
            self._turns[instance] = 0
        if all(known.id != graph.id for _, known in self.arrivals):
            self.arrivals.append((now_s, graph))

    def answered(self, event: Expanded | Skipped | Revealed) -> None:
        """An `Expand` is answered."""
        turn = self._turns.get(event.instance, 0)
        self._turns[event.instance] = turn + 1
        answers = self.answers.setdefault(event.instance, [])
        if turn == len(answers):
            answers.append(event)


def recording(records: Sequence[Record]) -> Recording:
    """Return the workload that a journal tells of."""
    found = Recording(mishaps=mishaps(records))
    working: dict[ActivityId, tuple[InstanceId, float, bool]] = {}
    for record in records:
        for event in record.events:
            match event:
                case Submitted(graph=graph):
                    found.submitted(graph, record.at_s)
                case Expanded() | Skipped() | Revealed():
                    found.answered(event)
                case ItemDone() if event.activity in working:
                    instance, since_s, is_tool = working[event.activity]
                    if is_tool:
                        found.tool_s[instance, event.item] = record.at_s - since_s
                    elif event.output_tokens:
                        found.tokens[instance, event.item] = event.output_tokens
                    working[event.activity] = instance, record.at_s, is_tool
                case _:
                    pass
        for command in record.commands:
            if isinstance(command, Call | RunTool):
                is_tool = isinstance(command, RunTool)
                working[command.activity] = command.chunk.instance, record.at_s, is_tool
    return found


def learned(records: Sequence[Record], cluster: Cluster, known: Profile) -> Profile:
    """Return what calls and loads of a run really cost: the known costs, scaled to the run's sums.

    What a device did while it was slow does not count: that is a fault of its own (`slow_faults`).

    Args:
        records: the run's journal.
        cluster: what it ran on.
        known: costs as they were known before the run, which say how a cost depends on tokens.
    """
    sums = _Sums(cluster, known, slow_spells(records))
    for record in records:
        for event in record.events:
            sums.event(event, record.at_s)
        for command in record.commands:
            if isinstance(command, Call | Load | Unload):
                sums.running[command.activity] = command
                sums.since_s[command.activity] = record.at_s
    return sums.profile()


class _Sums:
    """Measured and expected seconds by device, model and kind of work."""

    def __init__(self, cluster: Cluster, known: Profile, slow: Sequence[Spell]) -> None:
        self.running: dict[ActivityId, Call | Load | Unload] = {}
        self.since_s: dict[ActivityId, float] = {}
        self._slow = slow
        self._slowdown = known.slowdown
        self._costs = {
            device.id: {
                model.id: known.costs.get(device.id, {}).get(model.id) or guess_costs(model)
                for model in cluster.models
                if cluster.supports(device, model)
            }
            for device in cluster.devices
        }
        self._seconds: dict[tuple[str, str, str], tuple[float, float]] = {}

    def event(self, event: Event, now_s: float) -> None:
        """Count an outcome."""
        if isinstance(event, ItemDone):
            command = self.running.get(event.activity)
            if isinstance(command, Call) and not self._was_slow(command, now_s):
                self._item(command, event)
            self.since_s[event.activity] = now_s
        elif isinstance(event, Done | Failed | Cancelled):
            command = self.running.pop(event.activity, None)
            if (
                isinstance(event, Done)
                and isinstance(command, Load | Unload)
                and not self._was_slow(command, now_s)
            ):
                kind = "load" if isinstance(command, Load) else "unload"
                costs = self._costs[command.device][command.model]
                expected_s = costs.load_s if kind == "load" else costs.unload_s
                self._add(command, kind, event.seconds, expected_s)

    def _was_slow(self, command: Call | Load | Unload, now_s: float) -> bool:
        return during(self._slow, command.device, self.since_s[command.activity], now_s)

    def profile(self) -> Profile:
        """Return the costs, scaled."""
        costs = {
            device: {model: self._scaled(device, model, each) for model, each in row.items()}
            for device, row in self._costs.items()
        }
        return Profile(costs=costs, slowdown=self._slowdown, source="measured in the run")

    def _item(self, command: Call, event: ItemDone) -> None:
        costs = self._costs[command.device][command.model]
        new, depth = event.prompt_tokens - event.cached_tokens, event.cached_tokens
        at_once = sum(
            isinstance(other, Call) and other.device == command.device
            for other in self.running.values()
        )
        factors = self._slowdown.get(command.device, ())
        slower = factors[min(at_once, len(factors)) - 1] if factors else 1.0
        prefill_s = prefill_seconds(float(new), float(depth), *costs.prefill) * slower
        self._add(command, "prefill", event.prefill_s, prefill_s)
        tokens, depth = float(event.output_tokens), float(event.prompt_tokens)
        decode_s = decode_seconds(tokens, depth, *costs.decode) * slower
        self._add(command, "decode", event.decode_s, decode_s)

    def _add(
        self, command: Call | Load | Unload, kind: str, measured_s: float, expected_s: float
    ) -> None:
        if measured_s > 0 and expected_s > 0:
            key = command.device, command.model, kind
            old = self._seconds.get(key, (0.0, 0.0))
            self._seconds[key] = old[0] + measured_s, old[1] + expected_s

    def _scaled(self, device: str, model: str, costs: CallCosts) -> CallCosts:
        load, unload, prefill, decode = (
            self._factor(device, model, kind) for kind in ("load", "unload", "prefill", "decode")
        )
        return CallCosts(
            load_s=costs.load_s * load,
            unload_s=costs.unload_s * unload,
            prefill=scaled(costs.prefill, prefill),
            decode=scaled(costs.decode, decode),
        )

    def _factor(self, device: str, model: str, kind: str) -> float:
        """Return measured over expected, of the model elsewhere or of the device if not here."""
        own = self._seconds.get((device, model, kind))
        if own is not None:
            return own[0] / own[1]
        alike = [
            seconds
            for (d, m, k), seconds in self._seconds.items()
            if k == kind and (d == device or m == model)
        ]
        expected_s = sum(expected for _, expected in alike)
        return sum(measured for measured, _ in alike) / expected_s if expected_s > 0 else 1.0


def carry_over(profile: Profile, cluster: Cluster, other: Cluster) -> Profile:
    """Return costs for another cluster: a device's own where it is known, else those of one alike.

    Alike is a device of the same engine, the first in the old cluster; models nobody has run
    there are guessed from their size.
    """

    def row(device: Device) -> dict[str, CallCosts]:
        old = [device.id, *[d.id for d in cluster.devices if d.engine == device.engine]]
        known = [profile.costs[name] for name in old if name in profile.costs]
        return {
            model.id: next((costs[model.id] for costs in known if model.id in costs), None)
            or guess_costs(model)
            for model in other.models
            if other.supports(device, model)
        }

    slowdown = {d.id: profile.slowdown[d.id] for d in other.devices if d.id in profile.slowdown}
    costs = {device.id: row(device) for device in other.devices}
    return Profile(costs=costs, slowdown=slowdown, source=profile.source)


def resimulate(
    work: Recording,
    setup: Setup,
    truth: Profile,
    on_record: Callable[[Record], None] | None = None,
) -> Outcome:
    """Run a recorded workload in virtual time.

    Args:
        work: the workload.
        setup: who decides, over which cluster, knowing which costs to begin with.
        truth: what things really cost.
        on_record: told of every step as it is taken.
    """
    world = RecordedWorld(setup.cluster, Truth(profile=truth), setup.seed, work)
    losses = work.mishaps.on([device.id for device in setup.cluster.devices])
    return simulate_faults(work.arrivals, setup, losses, world=world, on_record=on_record)


class RecordedWorld(World):
    """A world in which stages turn out as they did in a run.

    What never came about there (a branch that another policy takes first) is as it was declared.
    """

    def __init__(self, cluster: Cluster, truth: Truth, seed: int, work: Recording) -> None:
        super().__init__(cluster, truth, seed)
        self._work = work
        self._asked: dict[InstanceId, int] = {}
        self._failures = {item: list(each) for item, each in work.mishaps.failures.items()}
        self.physics = _RecordedPhysics(cluster, truth, seed, work)

    def expand(self, command: Expand) -> Event:
        """Answer as the run was answered, round by round."""
        instance = command.instance
        answers = self._work.answers.get(instance, [])
        turn = self._asked.get(instance, 0)
        self._asked[instance] = turn + 1
        if turn >= len(answers):
            return super().expand(command)
        answer = answers[turn]
        if isinstance(answer, Expanded):
            self.declared.know(instance, self.declared.stage(instance), answer)
        elif isinstance(answer, Revealed):
            group = self.declared.stage(instance)
            self.declared.know(instance, group, None, turn + 1 if group.loop else 0)
            workflow = instance.partition("/")[0]
            for scope in answer.scopes:
                for stage in scope.stages:
                    self.declared.know(f"{workflow}/{stage.id}", stage, None)
        return answer

    def _tool(self, command: RunTool, now_s: float) -> list[tuple[float, Event]]:
        chunk, activity = command.chunk, command.activity
        declared_s = self.declared.stage(chunk.instance).tool_s
        events: list[tuple[float, Event]] = []
        for item in range(chunk.start, chunk.stop):
            now_s += self._work.tool_s.get((chunk.instance, item), declared_s)
            failed = self._failure(command, item)
            if failed is not None:
                return [*events, (now_s, failed)]
            events.append((now_s, ItemDone(activity=activity, item=item)))
        return [*events, (now_s, Done(activity=activity))]

    def _failure(self, command: Call | RunTool, item: int) -> Failed | None:
        """Fail as often at an item as the run did."""
        left = self._failures.get((command.chunk.instance, item))
        return replace(left.pop(0), activity=command.activity) if left else None


class _RecordedPhysics(Physics):
    def __init__(self, cluster: Cluster, truth: Truth, seed: int, work: Recording) -> None:
        super().__init__(cluster, truth, seed)
        self._tokens = work.tokens

    def length(self, stage: Stage, instance: InstanceId, item: int) -> int:
        """Return how many tokens the item had in the run."""
        return self._tokens.get((instance, item)) or super().length(stage, instance, item)
