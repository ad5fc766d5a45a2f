"""KV states that are brought to where a call needs them: what there is, what it costs, who waits.

A prompt that another device has cached can be brought here over a link: saved there, copied,
restored into a sequence here. That pays where the link is quicker than computing the prompt. And
what a sequence of this device holds is copied into an empty one where the call would overwrite it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import NamedTuple

import numpy as np

from fate.core.chain import Chain, Content, Step
from fate.core.parking import Parking
from fate.core.pool import Work
from fate.cost.estimates import Estimator
from fate.cost.terms import call_seconds, copy_seconds, move_seconds, prefill_seconds
from fate.domain.catalog import Cluster
from fate.domain.graph import Path, path_tokens, shared_tokens
from fate.domain.messages import ActivityId, Move
from fate.domain.snapshot import F64, I32
from fate.domain.state import DeviceState, Match, usable_hit


class Source(NamedTuple):
    """The best state to bring: tokens of the prompt that it holds, and seconds to have it here."""

    content: Content
    tokens: float
    seconds: float


@dataclass(slots=True)
class Moving:
    """Finds the state worth bringing to a call; moves nothing where no link is declared.

    `link` [D, D, 2] has seconds and seconds per byte between devices, inf without a link.
    """

    cluster: Cluster
    estimator: Estimator
    on: bool
    parking: Parking
    link: F64 = field(init=False)
    linked: bool = field(init=False)

    def __post_init__(self) -> None:
        """Know which devices can send states to which."""
        index = {device.id: d for d, device in enumerate(self.cluster.devices)}
        self.link = np.full((len(index), len(index), 2), inf)
        able = [device.managed and device.prefix == "sequences" for device in self.cluster.devices]
        for link in self.cluster.links if self.on else ():
            source, target = index[link.source], index[link.target]
            if able[source] and able[target]:
                self.link[source, target] = (link.latency_s, 1.0 / link.bytes_per_s)
        self.linked = bool(np.isfinite(self.link).any())

    def place(
        self, devices: Sequence[DeviceState], work: Work, d: int
    ) -> tuple[Match, Source | None]:
        """Return the sequence for a call on a device, and what to bring into it before."""
        model = self.cluster.models[work.model].id
        copies = self.parking.copies(d, work.model)
        match = devices[d].match(model, work.path, work.nodes, copies)
        if match.slot < 0:
            return match, None
        copy = None
        if match.source >= 0:
            entry = devices[d].models[model]
            slot = entry.sequences[match.source]
            copy = self._copy(Content(d, match.source, slot.path, slot, entry), work)
        return match, self._worth(devices, work, d, match.cached, copy)

    def choose(self, devices: Sequence[DeviceState], chain: Chain) -> None:
        """Choose what a chain brings as things are now; without anything the call computes all."""
        assert chain.ready is not None
        work, held = chain.ready.work, chain.source if chain.holding else None
        copy = None
        if held is not None and held.slot is not None and held.slot.path is held.path:
            copy = self._copy(held, work)
        found = self._worth(devices, work, chain.device, chain.cached, copy)
        if held is not None and (found is None or found.content is not held):
            self.end(chain)
        chain.source = found.content if found is not None else None
        if found is None:
            self.skip(chain)

    def skip(self, chain: Chain) -> None:
        """Let a chain go on without the state it was to bring."""
        assert chain.ready is not None
        model = chain.steps[0].model
        chain.steps.clear()
        call_s = self.call_seconds(chain.ready.work, chain.device, chain.cached)
        chain.steps.append(Step("call", model, call_s))

    def contents(self, devices: Sequence[DeviceState], m: int) -> Iterator[Content]:
        """Yield the states of a model that can be saved now, by device and sequence."""
        model = self.cluster.models[m].id
        for d, state in enumerate(devices):
            entry = state.models.get(model)
            if entry is None:
                for k, parked in state.parked.get(model, {}).items():
                    yield Content(d, k, parked.path)
            elif entry.status == "resident":
                for k, slot in enumerate(entry.sequences):
                    if slot.path and not slot.busy:
                        yield Content(d, k, slot.path, slot, entry)

    def seconds(self, content: Content, d: int, m: int) -> float:
        """Return the seconds to save a state, bring it to a device, and restore it there."""
        latency_s, byte_s = self.link[content.device, d]
        return float(move_seconds(self.size_bytes(content.path, m), latency_s, byte_s))

    def size_bytes(self, path: Path, m: int) -> float:
        """Return the bytes of a state that holds a path."""
        return float(path_tokens(path) * self.cluster.models[m].kv_bytes_per_token)

    def _worth(
        self,
        devices: Sequence[DeviceState],
        work: Work,
        d: int,
        cached: float,
        copy: Source | None,
    ) -> Source | None:
        """Return the state to bring before a call; None where computing is as quick."""
        found = self._best(devices, work, d, copy)
        if found is None:
            return None
        moved_s = found.seconds + self.call_seconds(work, d, found.tokens)
        return found if moved_s < self.call_seconds(work, d, cached) else None

    def call_seconds(self, work: Work, d: int, cached: float) -> float:
        """Return the compute seconds of a chunk whose first prompt has tokens in the cache."""
        return call_seconds(
            work.first_tokens,
            float(cached),
            (work.rest_items, work.rest_tokens, work.head_tokens),
            work.output_tokens,
            *self.estimator.rates(d, work.model),
        )

    def begin(self, chain: Chain, activity: ActivityId) -> Move:
        """Hold the state that a chain brings, where it is, and ask for it."""
        content, d = chain.source, chain.device
        assert content is not None
        self.hold(chain, content)
        here = content.device == d
        latency_s, byte_s = (0.0, 0.0) if here else self.link[content.device, d].tolist()
        return Move(
            activity=activity,
            device=self.cluster.devices[d].id,
            model=chain.steps[0].model,
            source=self.cluster.devices[content.device].id,
            source_sequence=content.sequence,
            path=content.path,
            sequence=chain.sequence,
            bytes_per_s=0.0 if here else 1.0 / byte_s,
            latency_s=latency_s,
        )

    def hold(self, chain: Chain, content: Content) -> None:
        """Keep a state where it is until the chain has brought it."""
        if chain.holding:
            return
        if content.slot is not None and content.entry is not None:
            content.slot.busy = True
            content.entry.users += 1
        chain.source, chain.holding = content, True

    def end(self, chain: Chain) -> None:
        """A move is over, well or not, or will not be: its source is free again."""
        content = chain.source
        if content is None or not chain.holding:
            return
        if content.slot is not None and content.entry is not None:
            content.slot.busy = False
            content.entry.users -= 1
        chain.source, chain.holding = None, False

    def _copy(self, content: Content, work: Work) -> Source:
        """Return a state of the call's own device as something to bring."""
        tokens = usable_hit(shared_tokens(work.path, content.path), work.first_tokens)
        token_s = self.parking.copies(content.device, work.model).copied_s
        return Source(content, tokens, copy_seconds(float(path_tokens(content.path)), token_s))

    def _best(
        self, devices: Sequence[DeviceState], work: Work, d: int, copy: Source | None
    ) -> Source | None:
        """Return the state, on another device or `copy`, with which a prompt is ready first."""
        rates = self.estimator.rates(d, work.model)[0]

        def ready_s(source: Source) -> float:
            tokens = source.tokens
            return source.seconds + prefill_seconds(work.first_tokens - tokens, tokens, *rates)

        best, best_s = copy, inf if copy is None else ready_s(copy)
        for content in self.contents(devices, work.model) if self.linked else ():
            hit = shared_tokens(work.path, content.path)
            if content.device == d or not hit or self.link[content.device, d, 0] == inf:
                continue
            tokens = float(usable_hit(hit, work.first_tokens))
            found = Source(content, tokens, self.seconds(content, d, work.model))
            if ready_s(found) < best_s:
                best, best_s = found, ready_s(found)
        return best

    def table(self, held: Sequence[tuple[int, Content]], model: I32, hit: I32, first: F64) -> F64:
        """Return [N, D, 2] tokens and seconds of the best state elsewhere; zeros where none is.

        Args:
            held: each state that can be saved now, as (its model, itself), in the order of `hit`.
            model: [N] model of each node.
            hit: [N, len(held)] leading tokens of each node's prompt that each state holds.
            first: [N] prompt tokens.
        """
        devices = len(self.cluster.devices)
        table, ready_s = np.zeros((len(model), devices, 2)), np.full((len(model), devices), inf)
        prefill = self.estimator.tables().prefill
        for p, (m, content) in enumerate(held):
            nodes = np.flatnonzero((model == m) & (hit[:, p] > 0))
            if not len(nodes):
                continue
            tokens = np.minimum(hit[nodes, p].astype(np.float64), first[nodes] - 1.0)
            for d in range(devices):
                if d == content.device or self.link[content.device, d, 0] == inf:
                    continue
                move_s = self.seconds(content, d, m)
                end_s = move_s + prefill_seconds(first[nodes] - tokens, tokens, *prefill[d, m])
                better = end_s < ready_s[nodes, d]
                chosen = nodes[better]
                ready_s[chosen, d] = end_s[better]
                table[chosen, d, 0], table[chosen, d, 1] = tokens[better], move_s
        return table
