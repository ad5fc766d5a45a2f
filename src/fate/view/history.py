"""A run as it happened: bars, idle spans, stages, plans. The one source of every view.

`fold` builds a `History` from the decision log alone, so simulated and real runs, finished and
half-finished ones, are seen through the same eyes. Times are seconds of the run's clock.
"""

from collections.abc import Sequence
from typing import Any, Literal, Protocol, TypeAlias

import msgspec

from fate.domain.catalog import Cluster
from fate.domain.graph import StageKind
from fate.domain.messages import ActivityId, WorkflowStatus
from fate.domain.plan import Search

ActivityKind: TypeAlias = Literal["load", "unload", "move", "warm", "call", "tool"]
PartKind: TypeAlias = Literal["prefill", "decode"]
#: `lost`: the device went away under it; `interrupted`: the process that drove it ended and another
#: one went on; `running`: the log ends before it does.
Outcome: TypeAlias = Literal["done", "failed", "cancelled", "lost", "interrupted", "running"]
StageStatus: TypeAlias = Literal["waiting", "ready", "running", "done", "failed", "skipped"]
IdleReason: TypeAlias = Literal[
    "lost",
    "drained",
    "resting",
    "ended",
    "loading",
    "planning",
    "plan",
    "memory",
    "parents",
    "none",
]

#: The device of bars that run on the host: tools.
HOST = "host"

#: In place of a plan's version: the plan was late, failed or empty, and the core's greedy rule
#: chose; the chunk was over its wait bound, and the core had to start it; not asked for.
FALLBACK, OVERDUE, NO_PLAN = -1, -2, -3

#: Idle reasons as people read them, in the order of reports.
IDLE_LABELS: dict[IdleReason, str] = {
    "parents": "waiting for parents",
    "plan": "waiting for a better device",
    "memory": "waiting for memory",
    "planning": "planning",
    "loading": "load in progress",
    "none": "nothing ready",
    "lost": "device lost",
    "drained": "drained: it fails or is too slow",
    "resting": "at rest, as its server asks",
    "ended": "ended",
}


class RunFacts(Protocol):
    """What the views need to know of a run beside its records; `store.Header` is one."""

    @property
    def run(self) -> str:
        """The run's id."""
        ...

    @property
    def simulated(self) -> bool:
        """Whether no model ran."""
        ...

    @property
    def policy(self) -> str:
        """Name of the policy."""
        ...

    @property
    def seed(self) -> int:
        """Seed of the run."""
        ...

    @property
    def cluster(self) -> Cluster:
        """Devices and models."""
        ...

    @property
    def predicted_makespan_s(self) -> float | None:
        """Makespan predicted with the first plan [s]."""
        ...

    @property
    def engines(self) -> Sequence[dict[str, Any]]:
        """Name, version and model digests of every device's engine."""
        ...

    @property
    def workflow(self) -> str:
        """File or name of what ran."""
        ...


class Part(msgspec.Struct, frozen=True, array_like=True):
    """A stretch of a call spent in prefill or in decode."""

    kind: PartKind
    start_s: float
    end_s: float


class Bar(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One attempt at one activity.

    Attributes:
        device: where it ran, or `host`.
        row: position among the device's slots, loads or moves, such that bars never overlap.
        instance, start, stop: the items it is about; for loads and unloads the instance they
            were made for, where that is known, and an empty range.
        attempt: 1 for the first attempt at these items.
        parts: a call's time, divided as the engine's figures for each item are.
        plan: version of the plan that put the call here, or why it needed none: `FALLBACK` or
            `OVERDUE`; `NO_PLAN` for activities that are no calls.
        carried: KV states that an unload parks or a load restores.
        source: device that a move fetches from; its own where a state is copied.
    """

    activity: ActivityId
    kind: ActivityKind
    device: str
    row: int = 0
    model: str = ""
    workflow: str = ""
    instance: str = ""
    start: int = 0
    stop: int = 0
    attempt: int = 1
    start_s: float
    end_s: float
    outcome: Outcome
    reason: str = ""
    parts: tuple[Part, ...] = ()
    prompt_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    plan: int = NO_PLAN
    carried: int = 0
    source: str = ""


class Idle(msgspec.Struct, frozen=True, kw_only=True):
    """A stretch in which `slots` compute slots of a device did nothing, and why."""

    device: str
    start_s: float
    end_s: float
    slots: int
    reason: IdleReason


class StageSpan(msgspec.Struct, frozen=True, kw_only=True):
    """One execution of a stage; `items` is None until it is known, times until they come.

    Of a group, items are its scopes: a map's items, a loop's rounds. `dropped` were given up.
    `needs` are the executions whose outputs it starts from, groups seen through.
    """

    instance: str
    workflow: str
    stage: str
    kind: StageKind
    model: str
    items: int | None
    done: int
    status: StageStatus
    dropped: int = 0
    needs: tuple[str, ...] = ()
    ready_s: float | None = None
    start_s: float | None = None
    end_s: float | None = None


class Gap(msgspec.Struct, frozen=True, kw_only=True):
    """A stretch in which no process worked on the run; another one went on with it."""

    start_s: float
    end_s: float
    reason: str = ""


class WorkflowSpan(msgspec.Struct, frozen=True, kw_only=True):
    """A workflow from its arrival to its end; `status` is None while it runs."""

    id: str
    start_s: float
    end_s: float | None = None
    status: WorkflowStatus | None = None
    reason: str = ""


class PlanSpan(msgspec.Struct, frozen=True, kw_only=True):
    """A plan as it arrived: how it came about, and the first chunk of every device's order.

    `failed` is the reason where the policy raised instead; `waited_s` is how long some idle
    device with work for it has waited for the plan.
    """

    at_s: float
    version: int
    policy: str = ""
    search: Search = Search()
    heads: tuple[str, ...] = ()
    waited_s: float = 0.0
    failed: str = ""


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """Totals of a run. Of the `calls`, some were fallbacks and some were over their wait bound.

    `reused` items took another item's output, `dropped` ones were given up, a group's scopes
    among them. `failed_attempts` failed or were lost with their device; those that an interruption
    ended do not count. `parked` and `restored` count KV states saved before an unload and brought
    back by a load, `moves` those that came from another device, `copies` those copied from one
    sequence of a device to another. `drains` counts how often a device
    was put aside for failing or lagging, `interruptions` how often another process had to go on
    with the run.
    """

    model_loads: int = 0
    evictions: int = 0
    calls: int = 0
    fallback_calls: int = 0
    overdue_calls: int = 0
    failed_attempts: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    moved_bytes: int = 0
    moves: int = 0
    copies: int = 0
    parked: int = 0
    restored: int = 0
    reused: int = 0
    dropped: int = 0
    device_losses: int = 0
    drains: int = 0
    interruptions: int = 0


class History(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that happened between the first arrival and the last end.

    Bars stand in the order they began; idle spans by device and time.
    """

    start_s: float
    end_s: float
    bars: tuple[Bar, ...]
    idle: tuple[Idle, ...]
    stages: tuple[StageSpan, ...]
    workflows: tuple[WorkflowSpan, ...]
    plans: tuple[PlanSpan, ...]
    counts: Counts
    gaps: tuple[Gap, ...] = ()

    @property
    def makespan_s(self) -> float:
        """Seconds from the first arrival to the last end."""
        return self.end_s - self.start_s

    @property
    def status(self) -> WorkflowStatus:
        """`ok` if every workflow is; a run that did not end counts as cancelled."""
        states = {workflow.status for workflow in self.workflows}
        if "failed" in states:
            return "failed"
        return "ok" if states <= {"ok"} else "cancelled"
