"""What every driver starts from and ends with."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from fate.core.options import SchedulerOptions
from fate.core.scheduler import Scheduler
from fate.cost.profile import Profile
from fate.domain.catalog import Cluster
from fate.domain.messages import (
    CancelAll,
    Cancelled,
    Command,
    DeviceLost,
    DeviceReady,
    Done,
    Event,
    Expanded,
    ExpandFailed,
    Failed,
    ItemDone,
    PlanFailed,
    Planned,
    Record,
    RequestPlan,
    Resumed,
    Revealed,
    Skipped,
    Submitted,
    WorkflowEnded,
    WorkflowStatus,
)
from fate.policy.base import Policy


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """A cluster with its profile, and how it is to be scheduled."""

    cluster: Cluster
    profile: Profile
    policy: Policy
    options: SchedulerOptions = field(default_factory=SchedulerOptions)
    seed: int = 0

    def scheduler(self) -> Scheduler:
        """Return a fresh core."""
        return Scheduler(
            self.cluster,
            self.profile,
            self.options,
            seed=self.seed,
            eager=self.policy.eager,
            lookahead=self.policy.lookahead,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a run ended. `makespan_s` is when the last workflow ended; `records` is its log."""

    makespan_s: float
    records: tuple[Record, ...]
    ended: dict[str, WorkflowEnded]

    @property
    def status(self) -> WorkflowStatus:
        """The worst status of any workflow: failed, then cancelled, then ok."""
        found = [end.status for end in self.ended.values()]
        return "failed" if "failed" in found else "cancelled" if "cancelled" in found else "ok"


#: Place of each kind of event in a batch; outcomes are ordered among themselves.
_PLACES: dict[type, int] = {
    Resumed: -1,
    Submitted: 0,
    Expanded: 1,
    Skipped: 1,
    Revealed: 1,
    ExpandFailed: 1,
    ItemDone: 2,
    Done: 2,
    Failed: 2,
    Cancelled: 2,
    DeviceLost: 3,
    DeviceReady: 3,
    CancelAll: 3,
}
_LAST = 4


def in_order(events: Sequence[Event]) -> list[Event]:
    """Return a batch in canonical order, so that drivers which collect it differently agree.

    That a run goes on, workflows, then expansions, then outcomes by activity (items before their
    end), then what happened to devices and to the run, then plans and alarms.
    """
    return sorted(events, key=_place) if len(events) > 1 else list(events)


def _place(event: Event) -> tuple[int, int]:
    return _PLACES.get(type(event), _LAST), getattr(event, "activity", 0)


def record(at_s: float, events: Sequence[Event], commands: Sequence[Command]) -> Record:
    """Return one step of the decision log; plans in the making are not part of it."""
    logged = tuple([c for c in commands if not isinstance(c, RequestPlan)])
    return Record(at_s=at_s, events=tuple(events), commands=logged)


def workflow_ends(commands: Sequence[Command]) -> dict[str, WorkflowEnded]:
    """Return the workflows that end with these commands."""
    return {c.workflow: c for c in commands if isinstance(c, WorkflowEnded)}


def answer(policy: Policy, request: RequestPlan) -> Planned | PlanFailed:
    """Ask the policy; the one supervised place where its bugs become an event."""
    try:
        plan = policy.plan(request.snapshot, request.memo)
    except Exception as error:  # noqa: BLE001  # a third party's policy must not end the run
        return PlanFailed(version=request.version, reason=f"{type(error).__name__}: {error}")
    return Planned(version=request.version, plan=plan)
