"""Everything that crosses the border of the core: events in, commands out.

All are frozen, tagged and JSON-ready: the journal stores them as they are.
"""

from typing import TYPE_CHECKING, Literal, TypeAlias

import msgspec

from fate.domain.catalog import Parked
from fate.domain.graph import Chunk, Graph, InstanceId, Path, Scope, Twin
from fate.domain.plan import Plan

if TYPE_CHECKING:
    from fate.domain.plan import Memo
    from fate.domain.snapshot import Snapshot

#: One attempt at one activity; numbers are never reused within a run.
ActivityId: TypeAlias = int

WorkflowStatus: TypeAlias = Literal["ok", "failed", "cancelled"]


class Message(msgspec.Struct, frozen=True, tag=True, omit_defaults=True):
    """Base of events and commands; the class name is the tag."""


# --- events: what happened -----------------------------------------------------------------


class Submitted(Message, frozen=True, kw_only=True):
    """A workflow arrived."""

    graph: Graph


class Expanded(Message, frozen=True, kw_only=True):
    """An instance's prompts are rendered: its items, and their prompts as segments.

    Item i's prompt is `head + tails[i]`; a stage that is not a map has one tail, mostly empty.
    `twins` are items that take another item's output; `done` ones have been finished by a former
    core.
    """

    instance: InstanceId
    head: Path = ()
    tails: tuple[Path, ...] = ((),)
    twins: tuple[Twin, ...] = ()
    done: tuple[int, ...] = ()


class Skipped(Message, frozen=True, kw_only=True):
    """An instance does not run: its condition does not hold. Answers `Expand`."""

    instance: InstanceId


class Revealed(Message, frozen=True, kw_only=True):
    """A group's next scopes: all items of a map at once, or one round of a loop.

    No scopes end the group. A loop is asked again (`Expand`) when its round is done.
    """

    instance: InstanceId
    scopes: tuple[Scope, ...] = ()


class ExpandFailed(Message, frozen=True, kw_only=True):
    """An instance cannot be rendered; its workflow fails."""

    instance: InstanceId
    reason: str


class ItemDone(Message, frozen=True, kw_only=True):
    """One item of a call or tool is finished and its output stored; engine-measured figures."""

    activity: ActivityId
    item: int
    prompt_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    prefill_s: float = 0.0
    decode_s: float = 0.0


class Done(Message, frozen=True, kw_only=True):
    """An activity ended well; `seconds` is what it took at the engine.

    `missing` are the sequences that a load could not restore or an unload could not park,
    `moved_bytes` what a move carried.
    """

    activity: ActivityId
    seconds: float = 0.0
    missing: tuple[int, ...] = ()
    moved_bytes: int = 0


class Failed(Message, frozen=True, kw_only=True):
    """An activity ended badly; items reported before stay done.

    `retryable` is False where another attempt must end the same way. `wait_s` is for how long the
    device asks to be left alone, which is nobody's failure; 0 where it does not.
    """

    activity: ActivityId
    reason: str
    retryable: bool = True
    wait_s: float = 0.0


class Cancelled(Message, frozen=True, kw_only=True):
    """An activity was cancelled on the core's request."""

    activity: ActivityId


class DeviceLost(Message, frozen=True, kw_only=True):
    """A device is gone with all it held; its running activities are lost.

    `final` means that nobody should wait for it; `DeviceReady` may come all the same.
    """

    device: str
    reason: str
    final: bool = False


class DeviceReady(Message, frozen=True, kw_only=True):
    """A lost device is back, empty."""

    device: str


class Planned(Message, frozen=True, kw_only=True):
    """The answer to `RequestPlan`."""

    version: int
    plan: Plan


class PlanFailed(Message, frozen=True, kw_only=True):
    """The policy raised; the core falls back to the greedy plan."""

    version: int
    reason: str


class PlanLate(Message, frozen=True, kw_only=True):
    """The plan asked for is not there within its grace; idle devices stop waiting for it."""

    version: int


class Woke(Message, frozen=True, kw_only=True):
    """The time of a `WakeAt` has come."""

    at_s: float


class Resumed(Message, frozen=True, kw_only=True):
    """The process that ran this is gone and another goes on: devices are empty, nothing runs.

    `afresh`: a new core is told again of what is to do, and what is `Expanded.done`; it numbers
    activities and plans from `activity` and `plan` on.
    """

    reason: str = ""
    afresh: bool = False
    activity: ActivityId = 0
    plan: int = 0


class CancelAll(Message, frozen=True, kw_only=True):
    """Stop: cancel what runs, start nothing more, end every workflow."""

    reason: str = "cancelled by the user"


Event: TypeAlias = (
    Submitted
    | Expanded
    | Skipped
    | Revealed
    | ExpandFailed
    | ItemDone
    | Done
    | Failed
    | Cancelled
    | DeviceLost
    | DeviceReady
    | Planned
    | PlanFailed
    | PlanLate
    | Woke
    | Resumed
    | CancelAll
)


# --- commands: what to do ------------------------------------------------------------------


class Expand(Message, frozen=True, kw_only=True):
    """Render an instance whose parents are done, or ask a loop for its next round.

    `open` are parents that a join does not wait for: whatever comes of them, it does not see it.
    Answered by `Expanded`, `Skipped`, `Revealed` (groups only) or `ExpandFailed`.
    """

    instance: InstanceId
    open: tuple[InstanceId, ...] = ()


class Reuse(Message, frozen=True, kw_only=True):
    """Store a finished item's output as the output of its twin; nothing answers this."""

    instance: InstanceId
    item: int
    source: InstanceId
    source_item: int


class Dropped(Message, frozen=True, kw_only=True):
    """An item is given up and its workflow goes on without its output; nothing answers this."""

    instance: InstanceId
    item: int
    reason: str


class Drained(Message, frozen=True, kw_only=True):
    """A device gets no more work: it fails, is much slower than it should be, or asks for rest.

    `reason` says which of these first: `failing: …`, `slow: …`, `busy: …`. At `until_s` the device
    is tried with one call, earlier where it fails or is slow and nothing else can do its work. A
    rest that is prolonged is told of again. Nothing answers this.
    """

    device: str
    reason: str
    until_s: float

    @property
    def rests(self) -> bool:
        """Whether the device asked to be left alone; neither it nor its work has failed."""
        return self.reason.startswith("busy: ")


class Readmitted(Message, frozen=True, kw_only=True):
    """A drained device did its trial well; nothing answers this."""

    device: str


class RequestPlan(msgspec.Struct, frozen=True, kw_only=True):
    """Compute a plan; answered by `Planned` or `PlanFailed`. Never journalled: it is derived.

    The driver sends `PlanLate` when `grace_s` have passed without an answer.
    """

    version: int
    grace_s: float
    snapshot: "Snapshot"
    memo: "Memo | None"


class Load(Message, frozen=True, kw_only=True):
    """Load a model's weights; memory is reserved from now on.

    `restore` are the sequences whose parked KV states come back with it.
    """

    activity: ActivityId
    device: str
    model: str
    restore: tuple[int, ...] = ()


class Unload(Message, frozen=True, kw_only=True):
    """Drop a model's weights and prefixes; memory is free when it is done.

    `park` are the sequences whose KV states are saved on the device's disk before, `discard` the
    states that are taken off the disk to make room for them.
    """

    activity: ActivityId
    device: str
    model: str
    park: tuple[int, ...] = ()
    discard: tuple[Parked, ...] = ()


class Move(Message, frozen=True, kw_only=True):
    """Bring a KV state from another device into a sequence slot, at the link's speed.

    It is `source_sequence` of the model on `source`, live or parked there. Where `source` is the
    device itself, one of its sequences is copied into another, over no link: `bytes_per_s` is 0.
    """

    activity: ActivityId
    device: str
    model: str
    source: str
    source_sequence: int
    path: Path
    sequence: int
    bytes_per_s: float
    latency_s: float = 0.0


class Warm(Message, frozen=True, kw_only=True):
    """Prefill a prefix into a sequence slot without generating."""

    activity: ActivityId
    device: str
    model: str
    path: Path
    sequence: int


class Call(Message, frozen=True, kw_only=True):
    """Run the items of a chunk one after the other; an `ItemDone` each, then `Done`.

    `sequence` is the cache slot to use, -1 where the engine has none.
    """

    activity: ActivityId
    device: str
    model: str
    chunk: Chunk
    sequence: int = -1


class RunTool(Message, frozen=True, kw_only=True):
    """Run a tool over the items of a chunk, on the host."""

    activity: ActivityId
    chunk: Chunk


class Cancel(Message, frozen=True, kw_only=True):
    """Stop an activity; answered by `Cancelled`, or by its outcome if that was quicker."""

    activity: ActivityId


class WakeAt(Message, frozen=True, kw_only=True):
    """Send `Woke` at this time."""

    at_s: float


class WorkflowEnded(Message, frozen=True, kw_only=True):
    """A workflow is over; nothing answers this."""

    workflow: str
    status: WorkflowStatus
    reason: str = ""


#: The commands an engine or a tool runner executes; each ends in exactly one outcome event.
Activity: TypeAlias = Load | Unload | Move | Warm | Call | RunTool
#: `RequestPlan` is derived, hence absent from journals and decision logs.
LoggedCommand: TypeAlias = (
    Expand
    | Reuse
    | Dropped
    | Drained
    | Readmitted
    | Load
    | Unload
    | Move
    | Warm
    | Call
    | RunTool
    | Cancel
    | WakeAt
    | WorkflowEnded
)
Command: TypeAlias = LoggedCommand | RequestPlan


class Record(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One step of the core, as journals keep it: the batch it was handed, and what it answered."""

    at_s: float
    events: tuple[Event, ...] = ()
    commands: tuple[LoggedCommand, ...] = ()
