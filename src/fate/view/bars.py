"""Activities in progress, and the lanes of the devices they run on."""

from dataclasses import dataclass, field

import msgspec

from fate.domain.catalog import Cluster
from fate.domain.graph import Chunk
from fate.domain.messages import Drained, ItemDone
from fate.view.history import FALLBACK, HOST, ActivityKind, Bar, Outcome, Part, PartKind
from fate.view.stage_run import StageRun

#: Activities that take a compute slot; the others take the device's loader or a link.
COMPUTE: frozenset[ActivityKind] = frozenset({"call", "warm"})

#: What an activity occupies: a slot (of the device, or of the host), the loader, the link.
SLOT, LOADER, LINK = range(3)
TRACKS: dict[ActivityKind, int] = {
    "call": SLOT,
    "warm": SLOT,
    "tool": SLOT,
    "load": LOADER,
    "unload": LOADER,
    "move": LINK,
}


@dataclass(slots=True, eq=False)
class Lane:
    """A device, or the host: which rows of each track are taken, and how much of it is busy.

    `models` are those that may ever run here; `order` is the latest plan's list for it; `held` are
    the bytes of each model that is loaded or being loaded. `aside` says why it gets no work, if
    so. `chain` is when a load or unload last ended here, and why that chain had been started
    without a plan.
    """

    id: str
    slots: int
    models: tuple[str, ...]
    healthy: bool = True
    aside: Drained | None = None
    calls: int = 0
    others: int = 0
    rows: tuple[list[bool], ...] = field(default_factory=lambda: ([], [], []))
    order: tuple[Chunk, ...] = ()
    held: dict[str, int] = field(default_factory=dict[str, int])
    chain: tuple[float, int] = (float("-inf"), FALLBACK)

    @property
    def free(self) -> int:
        """Compute slots with nothing to do: no call, and no load or move that one waits for."""
        return self.slots - min(self.slots, self.calls + self.others)

    def enter(self, kind: ActivityKind) -> int:
        """Take the first free row of an activity's track."""
        if kind in COMPUTE:
            self.calls += 1
        else:
            self.others += 1
        rows = self.rows[TRACKS[kind]]
        for row, taken in enumerate(rows):
            if not taken:
                rows[row] = True
                return row
        rows.append(True)
        return len(rows) - 1

    def leave(self, kind: ActivityKind, row: int) -> None:
        """Give a row back."""
        if kind in COMPUTE:
            self.calls -= 1
        else:
            self.others -= 1
        self.rows[TRACKS[kind]][row] = False


def lanes(cluster: Cluster) -> dict[str, Lane]:
    """Return an empty lane for every device, in the cluster's order, then the host's."""
    found = {
        device.id: Lane(
            device.id,
            device.slots,
            tuple(model.id for model in cluster.models if cluster.supports(device, model)),
        )
        for device in cluster.devices
    }
    found[HOST] = Lane(HOST, cluster.tool_slots, ())
    return found


@dataclass(slots=True, eq=False)
class OpenBar:
    """An activity in progress.

    `mark_s` is where the next part of a call begins; `run` and `chunk` are what it works on or,
    for a load or unload, `run` and `committed` what the device is being prepared for. `unplanned`
    is why it began, should no plan have asked for it.
    """

    number: int
    bar: Bar
    mark_s: float
    run: StageRun | None = None
    chunk: Chunk | None = None
    unplanned: int = FALLBACK
    committed: int = 0
    parts: list[Part] = field(default_factory=list[Part])
    prompt_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0

    def item(self, event: ItemDone, now_s: float) -> None:
        """Count an item, and divide the time since the last one as the engine's figures are."""
        self.prompt_tokens += event.prompt_tokens
        self.cached_tokens += event.cached_tokens
        self.output_tokens += event.output_tokens
        if self.bar.kind not in COMPUTE:
            return
        measured = event.prefill_s + event.decode_s
        share = event.prefill_s / measured if measured > 0 else 0.0
        self._part("prefill", self.mark_s + share * (now_s - self.mark_s))
        self._part("decode", now_s)

    def closed(self, now_s: float, outcome: Outcome, reason: str = "") -> Bar:
        """Return the bar as it ended. A call's time that led to no item counts as decode."""
        parts = tuple(self.parts)
        if self.bar.kind in COMPUTE and now_s > self.mark_s:
            tail: PartKind = "decode" if self.bar.kind == "call" else "prefill"
            parts = (*parts, Part(tail, self.mark_s, now_s))
        return msgspec.structs.replace(
            self.bar,
            end_s=now_s,
            outcome=outcome,
            reason=reason,
            parts=parts,
            prompt_tokens=self.prompt_tokens,
            cached_tokens=self.cached_tokens,
            output_tokens=self.output_tokens,
        )

    def _part(self, kind: PartKind, end_s: float) -> None:
        if end_s > self.mark_s:
            self.parts.append(Part(kind, self.mark_s, end_s))
            self.mark_s = end_s
