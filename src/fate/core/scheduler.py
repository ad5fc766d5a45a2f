"""The decision core: one mutator, `handle(events, now_s) -> commands`.

Deterministic: no clock, no I/O, no text. `lifecycle` has the workflows, `fleet` the devices;
`dispatch` starts work, `attempts` says what a failure means; here is when to plan, and what each
event changes.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, cast, get_args

from fate.core.attempts import Attempts
from fate.core.chain import HOST
from fate.core.dispatch import Dispatcher
from fate.core.fleet import Fleet
from fate.core.lifecycle import Lifecycle
from fate.core.moving import Moving
from fate.core.observe import observe_item, observe_step
from fate.core.options import SchedulerOptions
from fate.core.parking import Parking
from fate.core.prefetch import Prefetcher
from fate.core.service import serve
from fate.core.snapshot import SnapshotBuilder
from fate.core.watch import Watch
from fate.cost.estimates import Estimator
from fate.cost.profile import Profile
from fate.domain.catalog import Cluster
from fate.domain.errors import GraphError, NoFeasibleDeviceError, ProtocolError
from fate.domain.graph import Stage
from fate.domain.messages import (
    Activity,
    ActivityId,
    Call,
    Cancel,
    CancelAll,
    Cancelled,
    Command,
    DeviceLost,
    DeviceReady,
    Done,
    Event,
    Expand,
    Expanded,
    ExpandFailed,
    Failed,
    ItemDone,
    Load,
    PlanFailed,
    PlanLate,
    Planned,
    RequestPlan,
    Resumed,
    Revealed,
    Skipped,
    Submitted,
    WakeAt,
    Woke,
)
from fate.policy.base import Lookahead
from fate.policy.greedy import greedy_plan

if TYPE_CHECKING:
    from fate.domain.plan import Memo

#: Made once: unions and checks against them are too slow for every command.
_ABOUT_ACTIVITY: frozenset[type] = frozenset([*get_args(Activity), Cancel])
#: After these devices have no more to do ahead than before.
_QUIET: frozenset[type] = frozenset([ItemDone, PlanLate, Woke])
_WATCHED: frozenset[type] = frozenset([Call, Load])


class Scheduler:
    """Turns batches of events into commands. See docs/architecture.md for the rules it keeps."""

    def __init__(
        self,
        cluster: Cluster,
        profile: Profile,
        options: SchedulerOptions,
        *,
        seed: int = 0,
        eager: bool = False,
        lookahead: Lookahead = "near",
    ) -> None:
        """Start with empty devices and no work.

        Args:
            cluster: devices and models; their order gives the indices in plans.
            profile: what they are known to cost.
            options: policy-independent options.
            seed: seeds the policy, together with the plan's version.
            eager: the policy binds early: it plans whenever work arrives, over all of it.
            lookahead: which of the stages that are not ready the policy wants to see.
        """
        self._options, self._eager = options, eager
        self._lookahead: Lookahead = lookahead
        self._outbox: list[Command] = []
        self._device = {device.id: d for d, device in enumerate(cluster.devices)}
        self.estimator = Estimator(cluster, profile)
        self.lifecycle = Lifecycle(cluster, options, self.estimator, self._outbox)
        parking = Parking(cluster, self.estimator, options.park)
        moving = Moving(cluster, self.estimator, options.move, parking)
        self.fleet = Fleet(cluster, self.estimator, self._outbox, parking, moving)
        self._prefetcher = Prefetcher(self.lifecycle, self.fleet)
        self._dispatch = Dispatcher(self.lifecycle, self.fleet, self._prefetcher)
        self._attempts = Attempts(self.lifecycle, self.fleet, options)
        self.watch = Watch(self.lifecycle, self.fleet, self._attempts, options)
        self._snapshots = SnapshotBuilder(self.lifecycle, self.fleet, options, seed)
        self._version = 0
        self._in_flight = False
        self._late = False
        self._stale = True
        self._memo: Memo | None = None
        self._gone: set[int] = set()
        self._wake_at_s = float("inf")
        self._on: dict[type, Callable[[Any, float], None]] = {
            Submitted: self._submitted,
            Expanded: self._expanded,
            Skipped: self._skipped,
            Revealed: self._revealed,
            ExpandFailed: self._expand_failed,
            ItemDone: self._item_done,
            Done: self._done,
            Failed: self._failed,
            Cancelled: self._cancelled,
            DeviceLost: self._device_lost,
            DeviceReady: self._device_ready,
            Planned: self._planned,
            PlanFailed: self._plan_failed,
            PlanLate: self._plan_late,
            Woke: self._woke,
            Resumed: self._resumed,
            CancelAll: self._cancel_all,
        }

    @property
    def finished(self) -> bool:
        """Whether every workflow has ended and nothing runs any more."""
        return not self.lifecycle.open_workflows and not self.fleet.chains

    @property
    def planning(self) -> bool:
        """Whether a plan has been asked for and has not come."""
        return self._in_flight

    def handle(
        self, events: Sequence[Event], now_s: float, *, replayed: bool = False
    ) -> list[Command]:
        """Apply a batch of events and return what to do now, at most one `RequestPlan`.

        What is `replayed` has its plans in the log: the core changes and answers alike, but makes
        no picture for a policy and sends no `RequestPlan`.
        """
        for event in events:
            self._on[type(event)](event, now_s)
            if self.lifecycle.unsettled:
                self._settle(now_s)
        if self.lifecycle.delays.next_s <= now_s:
            self._stale |= self.lifecycle.release(now_s)
        self._stale |= self.watch.tick(now_s)
        self._dispatch.start_tools(now_s)
        if self._gone:
            self._stale |= self._attempts.fail_unplaceable(self._gone, now_s)
            if self.lifecycle.unsettled:
                self._settle(now_s)
        if len(self.lifecycle.pool):
            self._dispatch.start_overdue(now_s)
            if self._late:
                self._fall_back(now_s)
            self._request_plan(now_s, replayed=replayed)
        self._look_ahead(events, now_s)
        for command in self._outbox:
            if type(command) in _WATCHED:
                self.watch.started(self.fleet.chain(_activity(command)))
        self._arm_wake(now_s)
        commands = [command for command in self._outbox if not self._overtaken(command)]
        self._outbox.clear()
        return commands

    def _look_ahead(self, events: Sequence[Event], now_s: float) -> None:
        if self._options.prefetch and any(type(event) not in _QUIET for event in events):
            self._prefetcher.look(now_s)

    def _settle(self, now_s: float) -> None:
        self._stale = True
        self._attempts.settle(now_s)

    def _overtaken(self, command: Command) -> bool:
        """Whether a command is about an activity that a later event of the same batch ended."""
        return type(command) in _ABOUT_ACTIVITY and self.fleet.chain(_activity(command)) is None

    # --- events --------------------------------------------------------------------------

    def _submitted(self, event: Submitted, now_s: float) -> None:
        check_models(self.fleet.cluster, event.graph.id, event.graph.stages)
        self._stale = True
        self.lifecycle.submit(event.graph, now_s)

    def _expanded(self, event: Expanded, now_s: float) -> None:
        self._stale = True
        self.lifecycle.expanded(event, now_s)

    def _skipped(self, event: Skipped, now_s: float) -> None:
        self._stale = True
        self.lifecycle.skipped(event.instance)

    def _revealed(self, event: Revealed, now_s: float) -> None:
        self._stale = True
        workflow = event.instance.rpartition("/")[0]
        try:
            for scope in event.scopes:
                check_models(self.fleet.cluster, workflow, scope.stages)
        except (GraphError, NoFeasibleDeviceError) as error:
            self.lifecycle.fail(event.instance, str(error))
        else:
            self.lifecycle.revealed(event)

    def _expand_failed(self, event: ExpandFailed, now_s: float) -> None:
        self._stale = True
        self._attempts.expand_failed(event.instance, event.reason)

    def _item_done(self, event: ItemDone, now_s: float) -> None:
        chain = self.fleet.chain(event.activity)
        if chain is None:
            return
        chunk, item = chain.chunk, event.item
        if chunk is None or not chain.working_on(item):
            raise ProtocolError(f"activity {event.activity} ({chunk}) cannot finish item {item}")
        if not self.lifecycle.is_open(chunk.instance, item):
            return
        if chain.device != HOST:
            serve(self.lifecycle.instances[chunk.instance], event, chain.device, now_s)
        self.lifecycle.item_done(chunk, item, event.output_tokens, chain.device)
        learn = self.watch.item(chain, event, now_s)
        chain.items_done += 1
        chain.step_since_s = now_s
        if learn:
            observe_item(self.fleet.cluster, self.estimator, chain, event)

    def _done(self, event: Done, now_s: float) -> None:
        chain = self.fleet.chain(event.activity)
        if chain is None:
            return
        if chain.chunk is not None and chain.steps[0].kind in ("call", "tool"):
            missing = self.lifecycle.missing(chain.chunk)
            if missing:
                reason = f"{chain.chunk}: the engine reported success but {missing} items are open"
                self._failed(Failed(activity=event.activity, reason=reason), now_s)
                return
        observe_step(self.fleet.cluster, self.estimator, chain, event.seconds)
        self._stale = True
        if self.fleet.step_done(chain, now_s, event.missing):
            if chain.chunk is not None:
                self.lifecycle.chunk_done(chain.chunk)
        elif chain.cancelling:
            self._attempts.drop(self.fleet.drop_blocked([chain], now_s), now_s)

    def _failed(self, event: Failed, now_s: float) -> None:
        chain = self.fleet.chain(event.activity)
        if chain is None:
            return
        step, d, work = chain.steps[0], chain.device, self.watch.work_of(chain)
        self._stale = True
        here = frozenset([d] if d != HOST else ())
        if step.kind == "move" and not chain.cancelling:
            self.fleet.move_failed(chain, now_s)
            return
        ended = self.fleet.step_failed(chain, now_s)
        if chain.cancelling or self.watch.rest(d, event, now_s):
            self._attempts.drop(ended, now_s)
            return
        for other in ended[1:]:
            self._attempts.requeue(other, now_s, here)
        where = "" if d == HOST else f" on {self.fleet.cluster.devices[d].id}"
        reason = f"{step.kind}{where} failed"
        self._attempts.failed(chain, now_s, (reason, event.reason), here, event.retryable)
        if d != HOST and event.retryable:
            self.watch.failed(d, self.fleet.models[step.model], work, event.reason, now_s)

    def _cancelled(self, event: Cancelled, now_s: float) -> None:
        chain = self.fleet.chain(event.activity)
        if chain is not None:
            self._stale = True
            self._attempts.drop(self.fleet.step_failed(chain, now_s), now_s)

    def _device_lost(self, event: DeviceLost, now_s: float) -> None:
        d = self._device[event.device]
        self._stale = True
        if event.final:
            self._gone.add(d)
        lost = (f"device {event.device} lost", event.reason)
        for chain in self.fleet.lose(d):
            self._attempts.failed(chain, now_s, lost, frozenset(), retryable=True)
        self.watch.lost(d, event.reason, now_s)

    def _device_ready(self, event: DeviceReady, now_s: float) -> None:
        d = self._device[event.device]
        self._gone.discard(d)
        self.fleet.restore(d)
        self._stale = True

    def _planned(self, event: Planned, now_s: float) -> None:
        if event.version != self._version or not self._in_flight:
            return
        self._in_flight = self._late = False
        self._memo = event.plan.memo
        self._dispatch.start_heads(event.plan, now_s)
        self._dispatch.keep_going(now_s)

    def _plan_failed(self, event: PlanFailed, now_s: float) -> None:
        if event.version == self._version and self._in_flight:
            self._in_flight = self._late = False
            self._fall_back(now_s)

    def _plan_late(self, event: PlanLate, now_s: float) -> None:
        """From now on until the plan comes, what is idle goes by the greedy plan."""
        self._late = event.version == self._version and self._in_flight

    def _woke(self, event: Woke, now_s: float) -> None:
        self._wake_at_s = float("inf")
        self._stale |= self.lifecycle.pool.any_overdue(now_s)

    def _resumed(self, event: Resumed, now_s: float) -> None:
        """What ran is put back and charged to nobody; every device is there again, empty."""
        self._in_flight, self._late, self._stale = False, False, True
        self._gone.clear()
        self._wake_at_s = float("inf")
        self._version = max(self._version, event.plan)
        self._attempts.drop(self.fleet.begin_again(event.activity), now_s)

    def _cancel_all(self, event: CancelAll, now_s: float) -> None:
        self.lifecycle.cancel_all(event.reason)
        self.fleet.cancel(self.fleet.chains)
        self._attempts.drop(self.fleet.drop_blocked(list(self.fleet.chains), now_s), now_s)

    # --- planning ------------------------------------------------------------------------

    def _request_plan(self, now_s: float, *, replayed: bool) -> None:
        """Ask for a plan if something changed, somebody could use it, and none is on its way."""
        if self._in_flight or not self._stale or not (self._eager or self._dispatch.free_devices()):
            return
        if any(type(command) is Expand for command in self._outbox):
            return  # what is rendered now is ready in a moment: the plan shall know of it
        self._version += 1
        self._in_flight, self._stale = True, False
        version, whole, lookahead = self._version, self._eager, self._lookahead
        if replayed:
            self._snapshots.look(now_s, whole_frontier=whole, lookahead=lookahead)
            return
        seen = self._snapshots.build(version, now_s, whole_frontier=whole, lookahead=lookahead)
        grace_s, memo = self._options.plan_grace_s, self._memo
        self._outbox.append(RequestPlan(version=version, grace_s=grace_s, snapshot=seen, memo=memo))

    def _arm_wake(self, now_s: float) -> None:
        """Ask to be woken when a pause ends, a chunk or a step is overdue, a device is due."""
        pool, watch = self.lifecycle.pool, self.watch
        due_s = min(self.lifecycle.delays.next_s, watch.next_s, watch.health.reopens_s)
        if len(pool):
            due_s = min(due_s, pool.next_overdue_s(now_s))
            if pool.any_overdue(now_s):
                due_s = min(due_s, self._dispatch.next_forced_s(now_s))
        if due_s < self._wake_at_s:
            self._wake_at_s = due_s
            self._outbox.append(WakeAt(at_s=due_s))

    def _fall_back(self, now_s: float) -> None:
        """No plan in time: start what the greedy plan of the same scores starts."""
        if len(self.lifecycle.pool) and self._dispatch.free_devices():
            snapshot = self._snapshots.build(
                self._version, now_s, whole_frontier=False, lookahead="none"
            )
            self._dispatch.start_heads(greedy_plan(snapshot), now_s)
            self._dispatch.keep_going(now_s)


def _activity(command: Command) -> ActivityId:
    """Return the activity that a command of `_ABOUT_ACTIVITY` is about."""
    return cast("Cancel", command).activity


def check_models(cluster: Cluster, workflow: str, stages: Iterable[Stage]) -> None:
    """Check that every stage, those inside of groups too, names a model that some device can hold.

    Raises:
        GraphError: no such model.
        NoFeasibleDeviceError: the model fits nowhere.
    """
    for stage in stages:
        check_models(cluster, workflow, stage.body)
        if stage.kind != "llm":
            continue
        model = next((model for model in cluster.models if model.id == stage.model), None)
        if model is None:
            raise GraphError(workflow, f"stage {stage.id!r}: no model {stage.model!r}")
        if not any(cluster.supports(device, model) for device in cluster.devices):
            largest = max(cluster.devices, key=lambda device: device.memory_bytes)
            need, have = model.footprint_bytes, largest.memory_bytes
            raise NoFeasibleDeviceError(stage.id, model.id, need, largest.id, have)
