"""The decision core: one mutator, `handle(events, now_s) -> commands`.

Deterministic: no clock, no I/O, no text. `lifecycle` has the workflows, `fleet` the devices;
here is when to plan, what a plan may start, and what an outcome means.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from fate.core.chain import HOST, Chain
from fate.core.fleet import Fleet
from fate.core.lifecycle import Lifecycle
from fate.core.options import SchedulerOptions
from fate.core.pool import ReadyChunk
from fate.core.snapshot import SnapshotBuilder
from fate.cost.estimates import Estimator
from fate.cost.profile import Profile
from fate.domain.catalog import Cluster
from fate.domain.errors import GraphError, NoFeasibleDeviceError, ProtocolError
from fate.domain.messages import (
    Activity,
    Cancel,
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
    PlanLate,
    Planned,
    RequestPlan,
    Submitted,
    WakeAt,
    Woke,
)
from fate.domain.plan import Memo, Plan
from fate.policy.greedy import greedy_plan

#: Made once: a union in a check on the hot path would be put together every time.
_AboutActivity: TypeAlias = Activity | Cancel


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
    ) -> None:
        """Start with empty devices and no work.

        Args:
            cluster: devices and models; their order gives the indices in plans.
            profile: what they are known to cost.
            options: policy-independent options.
            seed: seeds the policy, together with the plan's version.
            eager: the policy binds early: it plans whenever work arrives, over all of it.
        """
        self._options, self._eager = options, eager
        self._outbox: list[Command] = []
        self._device = {device.id: d for d, device in enumerate(cluster.devices)}
        self.estimator = Estimator(cluster, profile)
        self.lifecycle = Lifecycle(cluster, options, self.estimator, self._outbox)
        self.fleet = Fleet(cluster, self.estimator, self._outbox)
        self._snapshots = SnapshotBuilder(self.lifecycle, self.fleet, options, seed)
        self._version = 0
        self._in_flight = False
        self._late = False
        self._stale = True
        self._memo: Memo | None = None
        self._gone: set[int] = set()
        self._held: set[int] = set()
        self._wake_at_s = float("inf")
        self._on: dict[type, Callable[[Any, float], None]] = {
            Submitted: self._submitted,
            Expanded: self._expanded,
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

    def handle(self, events: Sequence[Event], now_s: float) -> list[Command]:
        """Apply a batch of events and return what to do now, at most one `RequestPlan`."""
        for event in events:
            self._on[type(event)](event, now_s)
        self._start_tools(now_s)
        if self._gone:
            self._fail_unplaceable(now_s)
        if len(self.lifecycle.pool):
            self._start_overdue(now_s)
            if self._late:
                self._fall_back(now_s)
            self._request_plan(now_s)
            self._arm_wake(now_s)
        commands = [command for command in self._outbox if not self._overtaken(command)]
        self._outbox.clear()
        return commands

    def _overtaken(self, command: Command) -> bool:
        """Whether a command is about an activity that a later event of the same batch ended."""
        return isinstance(command, _AboutActivity) and self.fleet.chain(command.activity) is None

    # --- events --------------------------------------------------------------------------

    def _submitted(self, event: Submitted, now_s: float) -> None:
        cluster = self.fleet.cluster
        models = {model.id: model for model in cluster.models}
        for stage in event.graph.stages:
            if stage.kind != "llm":
                continue
            model = models.get(stage.model)
            if model is None:
                raise GraphError(event.graph.id, f"stage {stage.id!r}: no model {stage.model!r}")
            if not any(cluster.supports(device, model) for device in cluster.devices):
                largest = max(cluster.devices, key=lambda device: device.memory_bytes)
                need, have = model.footprint_bytes, largest.memory_bytes
                raise NoFeasibleDeviceError(stage.id, model.id, need, largest.id, have)
        self._stale = True
        self.lifecycle.submit(event.graph)

    def _expanded(self, event: Expanded, now_s: float) -> None:
        self._stale = True
        self.lifecycle.expanded(event, now_s)

    def _expand_failed(self, event: ExpandFailed, now_s: float) -> None:
        self._fail(event.instance, event.reason, now_s)

    def _item_done(self, event: ItemDone, now_s: float) -> None:
        chain = self.fleet.chain(event.activity)
        if chain is None:
            return
        chunk, item = chain.chunk, event.item
        if chunk is None or not chain.working_on(item):
            raise ProtocolError(f"activity {event.activity} ({chunk}) cannot finish item {item}")
        if not self.lifecycle.is_open(chunk.instance, item):
            return
        self.lifecycle.item_done(chunk, item, event.output_tokens, chain.device)
        self.fleet.observe_item(chain, event, now_s)

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
        self.fleet.observe_step(chain, event.seconds)
        self._stale = True
        if self.fleet.step_done(chain, now_s):
            if chain.chunk is not None:
                self.lifecycle.chunk_done(chain.chunk)
        elif chain.cancelling:
            self._drop(self.fleet.drop_blocked([chain], now_s), now_s)

    def _failed(self, event: Failed, now_s: float) -> None:
        chain = self.fleet.chain(event.activity)
        if chain is None:
            return
        kind = chain.steps[0].kind
        self._stale = True
        here = frozenset([chain.device] if chain.device != HOST else ())
        ended = self.fleet.step_failed(chain, now_s)
        for other in ended[1:]:
            self._requeue(other, now_s, here)
        where = "" if kind == "tool" else f" on {self.fleet.cluster.devices[chain.device].id}"
        reason = f"{kind}{where} failed"
        self._attempt_failed(chain, now_s, (reason, event.reason), here, event.retryable)

    def _cancelled(self, event: Cancelled, now_s: float) -> None:
        chain = self.fleet.chain(event.activity)
        if chain is not None:
            self._stale = True
            self._drop(self.fleet.step_failed(chain, now_s), now_s)

    def _device_lost(self, event: DeviceLost, now_s: float) -> None:
        d = self._device[event.device]
        self._stale = True
        if event.final:
            self._gone.add(d)
        lost = (f"device {event.device} lost", event.reason)
        for chain in self.fleet.lose(d):
            self._attempt_failed(chain, now_s, lost, frozenset(), retryable=True)

    def _device_ready(self, event: DeviceReady, now_s: float) -> None:
        self.fleet.restore(self._device[event.device])
        self._stale = True

    def _planned(self, event: Planned, now_s: float) -> None:
        if event.version != self._version or not self._in_flight:
            return
        self._in_flight = self._late = False
        self._memo = event.plan.memo
        self._start_heads(event.plan, now_s)
        self._keep_going(now_s)

    def _plan_failed(self, event: PlanFailed, now_s: float) -> None:
        if event.version == self._version and self._in_flight:
            self._in_flight = self._late = False
            self._fall_back(now_s)

    def _plan_late(self, event: PlanLate, now_s: float) -> None:
        """From now on until the plan comes, what is idle goes by the greedy plan."""
        self._late = event.version == self._version and self._in_flight

    def _woke(self, event: Woke, now_s: float) -> None:
        self._wake_at_s = float("inf")
        self._stale = True

    def _cancel_all(self, event: CancelAll, now_s: float) -> None:
        self.lifecycle.cancel_all(event.reason)
        self.fleet.cancel(self.fleet.chains)
        self._drop(self.fleet.drop_blocked(list(self.fleet.chains), now_s), now_s)

    # --- starting work -------------------------------------------------------------------

    def _start_tools(self, now_s: float) -> None:
        tools = self.lifecycle.tools
        while tools and self.fleet.tool_slots() > 0:
            chunk = tools.pop(0)
            stage = self.lifecycle.instances[chunk.instance].stage
            self.fleet.start_tool(chunk, stage.tool_s * (chunk.stop - chunk.start), now_s)

    def _start_heads(self, plan: Plan, now_s: float) -> None:
        """Start the heads of the lists while slots are free; the rest was advice."""
        for d, order in enumerate(plan.orders[: len(self.fleet.devices)]):
            free = 0 if d in self._held else self.fleet.free_slots(d)
            for chunk in order:
                if free <= 0:
                    break
                ready = self.lifecycle.pool.get(chunk)
                if ready is None:
                    continue
                if not self._start(ready, d, now_s):
                    break
                free -= 1
        devices, models = len(self.fleet.devices), len(self.fleet.cluster.models)
        for wish in plan.prefetch if self.lifecycle.open_workflows else ():
            if 0 <= wish.device < devices and 0 <= wish.model < models:
                self.fleet.prefetch(wish.device, wish.model, now_s)

    def _start(self, ready: ReadyChunk, d: int, now_s: float) -> bool:
        if not self._may_run(ready, d) or not self.fleet.start(ready, d, now_s):
            return False
        self.lifecycle.pool.take(ready.chunk)
        return True

    def _may_run(self, ready: ReadyChunk, d: int) -> bool:
        cluster, model = self.fleet.cluster, self.fleet.cluster.models[ready.work.model]
        return self.fleet.devices[d].healthy and cluster.supports(cluster.devices[d], model)

    def _start_overdue(self, now_s: float) -> None:
        """The bound on waiting: an overdue chunk takes the first free device that can run it.

        Where memory in use forbids that, the device starts nothing else until it can.
        """
        self._held.clear()
        for ready in self.lifecycle.pool.overdue(now_s):
            model = self.fleet.cluster.models[ready.work.model].id
            free = [d for d in self._free_devices() if d not in self._held]
            if not free:
                return
            free.sort(key=lambda d: (d in ready.avoid, model not in self.fleet.devices[d].models))
            if not any(self._start(ready, d, now_s) for d in free):
                self._held.update([d for d in free if self._may_run(ready, d)][:1])

    def _fall_back(self, now_s: float) -> None:
        """No plan in time: start what the greedy plan of the same scores starts."""
        if len(self.lifecycle.pool) and self._free_devices():
            snapshot = self._snapshots.build(self._version, now_s, whole_frontier=False)
            self._start_heads(greedy_plan(snapshot), now_s)
            self._keep_going(now_s)

    def _keep_going(self, now_s: float) -> None:
        """The proof of progress: with work ready and nothing running, something starts."""
        if self.fleet.chains or not len(self.lifecycle.pool):
            return
        for ready in self.lifecycle.pool.frontier(len(self.lifecycle.pool), now_s):
            devices = sorted(self._free_devices(), key=lambda d: d in ready.avoid)
            if any(self._start(ready, d, now_s) for d in devices):
                return

    # --- planning ------------------------------------------------------------------------

    def _request_plan(self, now_s: float) -> None:
        """Ask for a plan if something changed, somebody could use it, and none is on its way."""
        if self._in_flight or not self._stale or not (self._eager or self._free_devices()):
            return
        self._version += 1
        self._in_flight, self._stale = True, False
        snapshot = self._snapshots.build(self._version, now_s, whole_frontier=self._eager)
        self._outbox.append(
            RequestPlan(
                version=self._version,
                grace_s=self._options.plan_grace_s,
                snapshot=snapshot,
                memo=self._memo,
            )
        )

    def _free_devices(self) -> list[int]:
        return [d for d in range(len(self.fleet.devices)) if self.fleet.free_slots(d) > 0]

    def _arm_wake(self, now_s: float) -> None:
        due_s = self.lifecycle.pool.next_overdue_s(now_s)
        if due_s is not None and due_s < self._wake_at_s and due_s != float("inf"):
            self._wake_at_s = due_s
            self._outbox.append(WakeAt(at_s=due_s))

    # --- endings -------------------------------------------------------------------------

    def _attempt_failed(
        self,
        chain: Chain,
        now_s: float,
        reason: tuple[str, str],
        avoid: frozenset[int],
        retryable: bool,
    ) -> None:
        """Run again what the attempt left open, elsewhere if possible; or give its workflow up."""
        if chain.chunk is None:
            return
        if not self.lifecycle.missing(chain.chunk):
            self.lifecycle.chunk_done(chain.chunk)
            return
        failures, limit = self.lifecycle.count_failure(chain.chunk), self._options.max_attempts
        known = chain.ready.avoid if chain.ready is not None else frozenset[int]()
        self._requeue(chain, now_s, known | avoid)
        if not retryable or failures >= limit:
            tries = f" (attempt {failures} of {limit})" if retryable else ""
            text = f"{chain.chunk}: {reason[0]}{tries}: {reason[1]}"
            self._fail(chain.chunk.instance, text, now_s)

    def _fail(self, instance: str, reason: str, now_s: float) -> None:
        """End a workflow; what it has running is cancelled, what it has finished stays."""
        self._stale = True
        self.lifecycle.fail(instance, reason)
        doomed = [chain for chain in self.fleet.chains if self._abandoned(chain)]
        self.fleet.cancel(doomed)
        self._drop(self.fleet.drop_blocked(doomed, now_s), now_s)

    def _fail_unplaceable(self, now_s: float) -> None:
        """Fail what only devices that will not come back could have run."""
        cluster = self.fleet.cluster
        rest = [device for d, device in enumerate(cluster.devices) if d not in self._gone]
        dead = {
            m: model.id
            for m, model in enumerate(cluster.models)
            if not any(cluster.supports(device, model) for device in rest)
        }
        for ready in list(self.lifecycle.pool) if dead else ():
            if model := dead.get(ready.work.model):
                reason = f"{ready.chunk}: every device that can run {model!r} is lost"
                self._fail(ready.chunk.instance, reason, now_s)

    def _abandoned(self, chain: Chain) -> bool:
        """Whether the chain works for a workflow that has ended."""
        if chain.chunk is None:
            return False
        return self.lifecycle.instances[chain.chunk.instance].workflow.status is not None

    def _drop(self, chains: list[Chain], now_s: float) -> None:
        for chain in chains:
            self._requeue(chain, now_s, frozenset())

    def _requeue(self, chain: Chain, now_s: float, avoid: frozenset[int]) -> None:
        if chain.chunk is not None:
            self.lifecycle.requeue(chain.chunk, now_s, avoid)
