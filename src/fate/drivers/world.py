"""The truth of a simulated cluster: what things really take, apart from any estimate.

Every draw is seeded by (run seed, what it is about), so that the order in which things are asked
changes nothing and two policies meet the same world.
"""

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass, field

from fate.cost.profile import CallCosts, Profile, guess_costs
from fate.cost.terms import decode_seconds, prefill_seconds, state_seconds
from fate.domain.cache import PrefixCache, keyed
from fate.domain.catalog import Cluster
from fate.domain.graph import (
    Graph,
    InstanceId,
    Path,
    Segment,
    Stage,
    item_key,
    path_tokens,
    shared_tokens,
)
from fate.domain.messages import (
    Activity,
    Call,
    Done,
    Event,
    Expand,
    Failed,
    ItemDone,
    Load,
    Move,
    RunTool,
    Unload,
    Warm,
)
from fate.domain.state import usable_hit
from fate.drivers.declared import Declared


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """How the world differs from the estimates.

    Attributes:
        profile: true costs.
        noise: sigma of the log-normal factor on every duration (mean 1).
        length_noise: sigma of the log-normal factor on output lengths (mean 1).
        failure_rate: probability that an attempt of a call fails half-way.
        reuse: calls of one model whose prompts have the same keys are made once.
        refusal_rate: probability that an instance cannot be rendered.
        forget_rate: probability that an engine holds nothing of a call's prompt any more, whatever
            the scheduler believes: its index of prefixes is stale.
        actual: workflow id -> what the workflow turns out to be: the same stages, other figures.
            What is not in it is as submitted.
    """

    profile: Profile
    noise: float = 0.0
    length_noise: float = 0.0
    failure_rate: float = 0.0
    reuse: bool = False
    refusal_rate: float = 0.0
    forget_rate: float = 0.0
    actual: Mapping[str, Graph] = field(default_factory=dict[str, Graph])


def answer_tokens(stage: Stage, factor: float) -> int:
    """Return the tokens of an answer `factor` times as long as expected, within its limit."""
    if not stage.output_tokens and not stage.max_tokens:
        return 0  # a vector
    longest = stage.max_tokens or 1 << 30
    return max(1, min(round(stage.output_tokens * factor), longest))


def declared_in(truth: Truth, physics: "Physics") -> Declared:
    """Return what graphs turn out to be in a world."""
    return Declared(physics.draw, reuse=truth.reuse, refusal_rate=truth.refusal_rate)


@dataclass(frozen=True, slots=True)
class Measured:
    """What a call took, as an engine would report it."""

    cached_tokens: int
    prefill_s: float
    decode_s: float


class Physics:
    """Durations and caches of real devices; behind the simulator and behind fake engines."""

    def __init__(self, cluster: Cluster, truth: Truth, seed: int) -> None:
        self._truth, self._seed = truth, seed
        self._models = {model.id: model for model in cluster.models}
        self._contents: dict[tuple[str, str, int], Path] = {}
        self._parked: dict[tuple[str, str, int], Path] = {}
        self._sequences = {
            device.id: device.sequences if device.prefix == "sequences" else 0
            for device in cluster.devices
        }
        self._caches = {
            device.id: PrefixCache(device.cache_tokens)
            for device in cluster.devices
            if device.prefix == "blocks"
        }

    def fill(self, device: str, model: str, sequence: int, path: Path) -> None:
        """Put a prompt into a sequence: a world may begin in the middle of things."""
        if 0 <= sequence < self._sequences[device]:
            self._contents[device, model, sequence] = path

    def keep(self, device: str, model: str, sequence: int, path: Path) -> None:
        """Put a prompt on a device's disk: a world may begin in the middle of things."""
        self._parked[device, model, sequence] = path

    def park(self, device: str, model: str, sequence: int) -> None:
        """Save a sequence's content; the seconds count as the unload's."""
        key = (device, model, sequence)
        self._parked[key] = self._contents.get(key, ())

    def restore(self, device: str, model: str, sequence: int) -> None:
        """Bring a saved content back into its sequence; the seconds count as the load's."""
        key = (device, model, sequence)
        self._contents[key] = self._parked.pop(key)

    def move(self, command: Move) -> float:
        """Bring a content from another device; return its bytes."""
        source = (command.source, command.model, command.source_sequence)
        held = self._parked.get(source, self._contents.get(source, ()))
        self._contents[command.device, command.model, command.sequence] = held
        return float(path_tokens(held) * self._models[command.model].kv_bytes_per_token)

    def discard(self, device: str, model: str, sequence: int) -> None:
        """Take a saved content off the disk."""
        del self._parked[device, model, sequence]

    def load_s(self, device: str, model: str, nonce: str) -> float:
        """Seconds of a load; the model comes up with empty sequences."""
        self._forget(device, model)
        return self._costs(device, model).load_s * self.factor("load", device, model, nonce)

    def unload_s(self, device: str, model: str, nonce: str) -> float:
        """Seconds of an unload."""
        self._forget(device, model)
        return self._costs(device, model).unload_s * self.factor("unload", device, model, nonce)

    def call(
        self, device: str, model: str, prompt: Path, answer: Segment, sequence: int, running: int
    ) -> Measured:
        """Run one item: its prompt and answer then fill the sequence.

        `running` counts the calls on the device, this one included.
        """
        costs, tokens = self._costs(device, model), path_tokens(prompt)
        slot, cached = (device, model, sequence), 0
        if 0 <= sequence < self._sequences[device]:
            cached = int(usable_hit(shared_tokens(prompt, self._contents.get(slot, ())), tokens))
            self._contents[slot] = (*prompt, answer)
        cache = self._caches.get(device)
        if cache is not None:
            path = keyed(model, [(segment.key, segment.tokens) for segment in (*prompt, answer)])
            cached = int(usable_hit(cache.leading(path[:-1]), tokens))
            cache.touch(path, 0)
        if cached and self.draw("forget", answer.key, device) < self._truth.forget_rate:
            cached = 0
        factor = self.factor("call", answer.key, device) * self._slowdown(device, running)
        return Measured(
            cached,
            prefill_seconds(float(tokens - cached), float(cached), *costs.prefill) * factor,
            decode_seconds(float(answer.tokens), float(tokens), *costs.decode) * factor,
        )

    def factor(self, *about: str) -> float:
        """Return the noise on a duration."""
        return self._log_normal(self._truth.noise, *about)

    def length(self, stage: Stage, instance: InstanceId, item: int) -> int:
        """Return the true number of output tokens of an item."""
        factor = self._log_normal(self._truth.length_noise, "length", instance, str(item))
        return answer_tokens(stage, factor)

    def draw(self, *about: str) -> float:
        """Return a uniform number in [0, 1) that depends on the seed and `about` only."""
        return random.Random(":".join((str(self._seed), *about))).random()  # noqa: S311  # not a secret

    def _log_normal(self, sigma: float, *about: str) -> float:
        if not sigma:
            return 1.0
        generator = random.Random(":".join((str(self._seed), *about)))  # noqa: S311  # not a secret
        return math.exp(generator.gauss(-sigma * sigma / 2.0, sigma))

    def _slowdown(self, device: str, running: int) -> float:
        factors = self._truth.profile.slowdown.get(device, ())
        return factors[min(running, len(factors)) - 1] if factors else 1.0

    def _costs(self, device: str, model: str) -> CallCosts:
        known = self._truth.profile.costs.get(device, {}).get(model)
        return known or guess_costs(self._models[model])

    def _forget(self, device: str, model: str) -> None:
        for key in [k for k in self._contents if k[:2] == (device, model)]:
            del self._contents[key]


@dataclass(slots=True)
class World:
    """Answers commands with the events they lead to, each with its time."""

    cluster: Cluster
    truth: Truth
    seed: int
    physics: Physics = field(init=False)
    declared: Declared = field(init=False)
    _calls_until_s: dict[str, list[float]] = field(default_factory=dict[str, list[float]])
    _located: dict[InstanceId, dict[str, int]] = field(
        default_factory=dict[InstanceId, dict[str, int]]
    )

    def __post_init__(self) -> None:
        """Set up the physics."""
        self.physics = Physics(self.cluster, self.truth, self.seed)
        self.declared = declared_in(self.truth, self.physics)

    def occupy(self, device: str, until_s: float) -> None:
        """Let a call run on a device: a world may begin in the middle of things."""
        self._calls_until_s.setdefault(device, []).append(until_s)

    def arrive(self, graph: Graph) -> None:
        """Take note of a workflow's stages, as they turn out to be."""
        self.declared.arrive(self.truth.actual.get(graph.id, graph))

    def expand(self, command: Expand) -> Event:
        """Answer as the stage declares it."""
        return self.declared.expand(command.instance)

    def sample(self, command: Activity, now_s: float) -> list[tuple[float, Event]]:
        """Return what an activity leads to, unless it is cancelled."""
        match command:
            case Load():
                return self._load(command, now_s)
            case Unload():
                return self._unload(command, now_s)
            case Call():
                return self._call(command, now_s)
            case RunTool():
                return self._tool(command, now_s)
            case Move():
                return self._move(command, now_s)
            case Warm():
                reason = "this world has no such activity"
                return [(now_s, Failed(activity=command.activity, reason=reason, retryable=False))]

    def _load(self, command: Load, now_s: float) -> list[tuple[float, Event]]:
        nonce = str(command.activity)
        seconds = self.physics.load_s(command.device, command.model, nonce)
        for sequence in command.restore:
            self.physics.restore(command.device, command.model, sequence)
        return [(now_s + seconds, Done(activity=command.activity, seconds=seconds))]

    def _unload(self, command: Unload, now_s: float) -> list[tuple[float, Event]]:
        nonce = str(command.activity)
        for parked in command.discard:
            self.physics.discard(command.device, parked.model, parked.sequence)
        for sequence in command.park:
            self.physics.park(command.device, command.model, sequence)
        seconds = self.physics.unload_s(command.device, command.model, nonce)
        return [(now_s + seconds, Done(activity=command.activity, seconds=seconds))]

    def _move(self, command: Move, now_s: float) -> list[tuple[float, Event]]:
        """Over the link at its speed, then into the sequence; from another sequence at once."""
        size_bytes = self.physics.move(command)
        if command.source == command.device:
            seconds = state_seconds(size_bytes)
            return [(now_s + seconds, Done(activity=command.activity, seconds=seconds))]
        link_s = command.latency_s + size_bytes / command.bytes_per_s
        restore_s = state_seconds(size_bytes)
        done = Done(
            activity=command.activity, seconds=link_s + restore_s, moved_bytes=int(size_bytes)
        )
        return [((now_s + link_s) + restore_s, done)]

    def _tool(self, command: RunTool, now_s: float) -> list[tuple[float, Event]]:
        stage, chunk = self.declared.stage(command.chunk.instance), command.chunk
        events: list[tuple[float, Event]] = []
        for item in range(chunk.start, chunk.stop):
            now_s += stage.tool_s * self.physics.factor("tool", chunk.instance, str(item))
            events.append((now_s, ItemDone(activity=command.activity, item=item)))
        return [*events, (now_s, Done(activity=command.activity))]

    def _call(self, command: Call, now_s: float) -> list[tuple[float, Event]]:
        chunk, activity = command.chunk, command.activity
        stage = self.declared.stage(chunk.instance)
        until_s = [t for t in self._calls_until_s.get(command.device, []) if t > now_s]
        running, events = len(until_s) + 1, list[tuple[float, Event]]()
        now_s += self._gather_s(chunk.instance, command.device)
        for item in range(chunk.start, chunk.stop):
            prompt = self.declared.prompt(chunk.instance, item)
            tokens = self.physics.length(stage, chunk.instance, item)
            answer = Segment(item_key(chunk.instance, item), tokens)
            took = self.physics.call(
                command.device, command.model, prompt, answer, command.sequence, running
            )
            now_s += took.prefill_s + took.decode_s
            failed = self._failure(command, item)
            if failed is not None:
                events.append((now_s, failed))
                break
            events.append((now_s, _item_done(activity, item, prompt, tokens, took)))
            places = self._located.setdefault(chunk.instance, {})
            places[command.device] = places.get(command.device, 0) + stage.output_bytes
        else:
            events.append((now_s, Done(activity=activity)))
        self._calls_until_s[command.device] = [*until_s, now_s]
        return events

    def _failure(self, command: Call | RunTool, item: int) -> Failed | None:
        """Return the failure of an attempt at an item: some calls fail half-way."""
        chunk, activity = command.chunk, command.activity
        if item != (chunk.start + chunk.stop) // 2:
            return None
        if self.physics.draw("fail", str(chunk), str(activity)) >= self.truth.failure_rate:
            return None
        return Failed(activity=activity, reason="simulated failure")

    def _gather_s(self, instance: InstanceId, device: str) -> float:
        """Seconds to bring the parents' artefacts over links; text is on the host already."""
        links = {link.source: link for link in self.cluster.links if link.target == device}
        workflow = instance.rpartition("/")[0]
        seconds = 0.0
        for parent in self.declared.stage(instance).parents:
            for source, size in self._located.get(f"{workflow}/{parent}", {}).items():
                if size and source in links:
                    seconds += links[source].latency_s + size / links[source].bytes_per_s
        return seconds


def _item_done(activity: int, item: int, prompt: Path, tokens: int, took: Measured) -> ItemDone:
    return ItemDone(
        activity=activity,
        item=item,
        prompt_tokens=path_tokens(prompt),
        cached_tokens=took.cached_tokens,
        output_tokens=tokens,
        prefill_s=took.prefill_s,
        decode_s=took.decode_s,
    )
