"""Execution state: what is resident, cached, running. Plain data and the rules that change it.

The rules (`choose_sequence`, `copy_pays`, `choose_evictions`) exist once, over plain numbers, so
that the core, the simulator and the kernels' reference decide alike.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Literal, NamedTuple, TypeAlias

from fate.domain.cache import PathNodes, PrefixCache
from fate.domain.catalog import Device
from fate.domain.graph import Path, path_tokens, shared_tokens
from fate.domain.messages import ActivityId

#: planned: a chain will load it; loading: bytes reserved; evicting: bytes still held.
Residency: TypeAlias = Literal["planned", "loading", "resident", "evicting"]

#: Below this share of the prompt a match is not worth keeping a slot for: take the oldest.
MIN_MATCH = 0.1


def choose_sequence(hits: Sequence[int], used_at: Sequence[int], prompt_tokens: float) -> int:
    """Return the sequence slot a prompt should use.

    The slot with the longest match, the least recently used among equals; when that is under
    `MIN_MATCH` of the prompt, the least recently used slot. The first among equals (0 means never
    used).
    """
    best = 0
    for slot in range(1, len(hits)):
        longer, equal = hits[slot] > hits[best], hits[slot] == hits[best]
        if longer or (equal and used_at[slot] < used_at[best]):
            best = slot
    if hits[best] >= MIN_MATCH * prompt_tokens and hits[best] > 0:
        return best
    oldest = 0
    for slot in range(1, len(used_at)):
        if used_at[slot] < used_at[oldest]:
            oldest = slot
    return oldest


class CopyCosts(NamedTuple):
    """Seconds to compute a token, and to copy a state: fixed, and per token that it holds."""

    computed_s: float
    fixed_s: float
    copied_s: float


#: Of devices that cannot copy.
NO_COPIES = CopyCosts(0.0, 0.0, inf)


def copy_pays(hit: float, held: float, costs: CopyCosts) -> bool:
    """Whether a prompt should begin with a copy of a slot, in an empty one.

    Where it goes its own way behind a part of what the slot holds, the rest would be lost. A copy
    must take less time than computing that rest again would.

    Args:
        hit: leading tokens of the prompt that the slot holds.
        held: tokens that it holds.
        costs: inf where the device cannot copy.
    """
    copy_s = costs.fixed_s + held * costs.copied_s
    return hit > 0 and copy_s < (held - hit) * costs.computed_s


def usable_hit(hit: float, prompt_tokens: float) -> float:
    """Return the cached tokens an engine can use: at least the last token is computed."""
    return min(hit, prompt_tokens - 1.0) if prompt_tokens > 0 else 0.0


def choose_evictions(
    candidates: Sequence[tuple[int, int]], free_bytes: int, need_bytes: int
) -> list[int] | None:
    """Return positions in `candidates` to evict, least recently used first; None if too few.

    Args:
        candidates: (used_at, bytes) of each model that may go.
        free_bytes: bytes free before any eviction, may be negative.
        need_bytes: bytes to make room for.
    """
    gone: list[int] = []
    for position in sorted(range(len(candidates)), key=lambda i: (candidates[i][0], i)):
        if free_bytes >= need_bytes:
            break
        free_bytes += candidates[position][1]
        gone.append(position)
    return gone if free_bytes >= need_bytes else None


def choose_parked(candidates: Sequence[tuple[int, int]], budget_bytes: int) -> list[int]:
    """Return positions in `candidates` to keep on disk, most recently used first.

    A state that does not fit any more goes, and with it all that were used before it.

    Args:
        candidates: (used_at, bytes) of each state.
        budget_bytes: bytes there are for them.
    """
    kept: list[int] = []
    for position in sorted(range(len(candidates)), key=lambda i: (-candidates[i][0], i)):
        budget_bytes -= candidates[position][1]
        if budget_bytes < 0:
            break
        kept.append(position)
    return kept


class Match(NamedTuple):
    """The slot a prompt should use, the tokens of it there, and the slot to copy first, or -1."""

    slot: int
    cached: int
    source: int = -1


@dataclass(frozen=True, slots=True)
class ParkedState:
    """A KV state on a device's disk: what it holds, when that was used last, and its bytes."""

    path: Path
    used_at: int
    size_bytes: int


@dataclass(slots=True)
class SequenceSlot:
    """What one cache slot holds, when it was used last (0: never), and if a call is using it."""

    path: Path = ()
    used_at: int = 0
    busy: bool = False


@dataclass(slots=True)
class ResidentModel:
    """A model on a device, with the bytes it reserves and the prefixes it holds.

    `parking` are the states that its unload is saving, by sequence.
    """

    model: str
    reserved_bytes: int
    status: Residency
    used_at: int
    sequences: list[SequenceSlot]
    users: int = 0
    parking: dict[int, ParkedState] = field(default_factory=dict[int, ParkedState])


@dataclass(slots=True)
class DeviceState:
    """A device's state. `models` is insertion-ordered by model index of first load.

    `most_calls` may run at once: all slots, one while a drained device is on trial, none before.
    `parked` has the KV states on disk, by model and sequence. `cache` holds the prompts of a
    device whose prefix kind is `blocks`.
    """

    device: Device
    healthy: bool = True
    most_calls: int = -1
    models: dict[str, ResidentModel] = field(default_factory=dict[str, ResidentModel])
    running: dict[ActivityId, float] = field(default_factory=dict[ActivityId, float])
    parked: dict[str, dict[int, ParkedState]] = field(
        default_factory=dict[str, dict[int, ParkedState]]
    )
    cache: PrefixCache | None = None

    def __post_init__(self) -> None:
        """Trust the device with all its slots."""
        self.most_calls = self.device.slots
        self._empty_cache()

    @property
    def usable(self) -> bool:
        """Whether it is there and not drained."""
        return self.healthy and self.most_calls > 0

    def reserved_bytes(self) -> int:
        """Bytes held now: everything but models that are only planned."""
        return sum(m.reserved_bytes for m in self.models.values() if m.status != "planned")

    def match(
        self, model: str, path: Path, nodes: PathNodes, costs: CopyCosts = NO_COPIES
    ) -> Match:
        """Return the free sequence slot to use, and what it gives; slot -1 if there is none.

        A cache of blocks has no slots: it gives the leading `nodes` that it holds.
        """
        if self.cache is not None:
            return Match(-1, int(usable_hit(self.cache.leading(nodes), path_tokens(path))))
        entry = self.models.get(model)
        free = [i for i, s in enumerate(entry.sequences) if not s.busy] if entry else []
        if entry is None or not free:
            return Match(-1, 0)
        slots = [entry.sequences[i] for i in free]
        hits, tokens = [shared_tokens(path, slot.path) for slot in slots], path_tokens(path)
        best = choose_sequence(hits, [slot.used_at for slot in slots], tokens)
        empty = next((i for i in free if not entry.sequences[i].path), -1)
        held = path_tokens(slots[best].path)
        if empty >= 0 and copy_pays(hits[best], held, costs):
            return Match(empty, 0, free[best])
        return Match(free[best], int(usable_hit(hits[best], tokens)))

    def touch(self, model: str, slot: int, path: Path, clock: int, nodes: PathNodes) -> None:
        """Record that a model was used, and where what it leaves behind is cached.

        `path` now fills a sequence slot (-1: none); its `nodes` are in the cache of blocks.
        """
        entry = self.models[model]
        entry.used_at = clock
        if self.cache is not None:
            self.cache.touch(nodes, clock)
        if slot >= 0:
            entry.sequences[slot].path = path
            entry.sequences[slot].used_at = clock

    def evictions(self, need_bytes: int) -> list[str] | None:
        """Return the models to unload so that `need_bytes` fit; None while that is impossible.

        Loading models, models in use and models a chain is about to load are never evicted.
        """
        total = sum(m.reserved_bytes for m in self.models.values() if m.status != "evicting")
        idle = [m for m in self.models.values() if m.status == "resident" and m.users == 0]
        gone = choose_evictions(
            [(m.used_at, m.reserved_bytes) for m in idle],
            self.device.memory_bytes - total,
            need_bytes,
        )
        return None if gone is None else [idle[i].model for i in gone]

    def lose_everything(self) -> None:
        """The device process is gone: nothing is resident, nothing runs."""
        self.models.clear()
        self.running.clear()
        self.parked.clear()
        self._empty_cache()

    def _empty_cache(self) -> None:
        if self.device.prefix == "blocks":
            self.cache = PrefixCache(self.device.cache_tokens)
