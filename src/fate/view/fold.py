"""From a decision log to a `History`, one record at a time."""

from collections.abc import Iterable

import msgspec

from fate.domain import messages as m
from fate.domain.catalog import Cluster
from fate.domain.graph import Chunk
from fate.view.bars import OpenBar, lanes
from fate.view.history import (
    FALLBACK,
    HOST,
    NO_PLAN,
    OVERDUE,
    ActivityKind,
    Bar,
    Counts,
    Gap,
    History,
    Outcome,
    PlanSpan,
)
from fate.view.idle import IdleWatch
from fate.view.stages import StageBook

_PLANNING = (m.Planned, m.PlanFailed, m.PlanLate)


def fold(cluster: Cluster, records: Iterable[m.Record]) -> History:
    """Return the history that `records` tell."""
    folder = Fold(cluster)
    for record in records:
        folder.add(record)
    return folder.history()


class Fold:
    """Reads records; knows at any time what is running, and the history so far.

    Outcomes of activities it has not seen begin are ignored, as the core ignores them.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._bytes = {model.id: model.footprint_bytes for model in cluster.models}
        self._devices = [device.id for device in cluster.devices]
        self._placed: dict[Chunk, tuple[str, int]] = {}
        self._bars: list[tuple[int, Bar]] = []
        self._plans: list[PlanSpan] = []
        self._gaps: list[Gap] = []
        self._started = 0
        self._unplanned = FALLBACK
        self.now_s = 0.0
        self.lanes = lanes(cluster)
        self.book = StageBook()
        self.open: dict[m.ActivityId, OpenBar] = {}
        self.counts = Counts()
        self.idle = IdleWatch([self.lanes[device] for device in self._devices], self.book)

    def add(self, record: m.Record) -> None:
        """Apply the next record."""
        for event in record.events:
            if isinstance(event, m.Resumed):
                gap = Gap(start_s=self.now_s, end_s=record.at_s, reason=event.reason)
                self._gaps.append(gap)
        self.now_s = record.at_s
        planning = any(isinstance(event, _PLANNING) for event in record.events)
        self._unplanned = FALLBACK if planning else OVERDUE
        self.idle.advance(record.at_s)
        for event in record.events:
            self._event(event)
        for command in record.commands:
            self._command(command)
        self.idle.after(record)

    def history(self) -> History:
        """Return everything so far; what still runs ends now, as `running`."""
        workflows = tuple(self.book.workflows.values())
        ends = [w.end_s for w in workflows if w.end_s is not None]
        start_s = min((w.start_s for w in workflows), default=0.0)
        end_s = self.now_s if self.book.open_workflows or not ends else max(ends)
        running = [(b.number, b.closed(self.now_s, "running")) for b in self.open.values()]
        bars = sorted([*self._bars, *running], key=lambda numbered: numbered[0])
        return History(
            start_s=start_s,
            end_s=end_s,
            bars=tuple(bar for _, bar in bars),
            idle=self.idle.spans(start_s, end_s),
            stages=self.book.spans(),
            workflows=workflows,
            plans=tuple(self._plans),
            counts=self.counts,
            gaps=tuple(self._gaps),
        )

    def _event(self, event: m.Event) -> None:
        match event:
            case m.ItemDone() | m.Done() | m.Failed() | m.Cancelled():
                self._outcome(event)
            case m.Planned() | m.PlanFailed():
                self._planned(event)
            case m.DeviceLost():
                self._lost(event)
            case m.DeviceReady():
                self.lanes[event.device].healthy = True
            case m.Resumed():
                self._resumed(event)
            case m.PlanLate() | m.Woke() | m.CancelAll():
                pass
            case _:
                self._stage_event(event)

    def _stage_event(
        self, event: m.Submitted | m.Expanded | m.Skipped | m.Revealed | m.ExpandFailed
    ) -> None:
        match event:
            case m.Submitted():
                self.book.submit(event.graph, self.now_s)
            case m.Expanded():
                twins = [twin.item for twin in event.twins]
                items = len(event.tails)
                self.book.expanded(event.instance, items, self.now_s, twins, event.done)
            case m.Skipped():
                self.book.skipped(event.instance, self.now_s)
            case m.Revealed():
                self.book.revealed(event.instance, event.scopes, self.now_s)
            case m.ExpandFailed():
                self.book.expand_failed(event.instance)

    def _outcome(self, event: m.ItemDone | m.Done | m.Failed | m.Cancelled) -> None:
        match event:
            case m.ItemDone():
                self._item_done(event)
            case m.Done():
                self._states_carried(event)
                self._close(event.activity, "done")
            case m.Failed():
                self._close(event.activity, "failed", event.reason)
            case m.Cancelled():
                self._close(event.activity, "cancelled")

    def _command(self, command: m.LoggedCommand) -> None:
        match command:
            case m.Expand():
                self.book.asked(command.instance, self.now_s)
            case m.Reuse():
                self.book.reused(command.instance, command.item, self.now_s)
                self._count(reused=1)
            case m.Dropped():
                self.book.dropped(command.instance, command.item, self.now_s)
                self._count(dropped=1)
            case m.WorkflowEnded():
                self._workflow_ended(command)
            case m.Drained() | m.Readmitted():
                lane = self.lanes[command.device]
                again = lane.aside is not None and lane.aside.until_s > self.now_s
                lane.aside = command if isinstance(command, m.Drained) else None
                self._count(drains=int(lane.aside is not None and not again))
            case m.Cancel() | m.WakeAt():
                pass
            case _:
                self._begin(command)

    def _begin(self, command: m.Activity) -> None:
        match command:
            case m.Load():
                self._prepare("load", command, command.model, len(command.restore))
                self.lanes[command.device].held[command.model] = self._bytes[command.model]
            case m.Unload():
                self._prepare("unload", command, None, len(command.park))
            case m.Move():
                opened = self._open("move", command.activity, command.device, command.model)
                opened.bar = msgspec.structs.replace(opened.bar, source=command.source)
            case m.Warm():
                self._open("warm", command.activity, command.device, command.model)
            case m.Call():
                self._open("call", command.activity, command.device, command.model, command.chunk)
            case m.RunTool():
                self._open("tool", command.activity, HOST, "", command.chunk)

    def _open(
        self,
        kind: ActivityKind,
        activity: m.ActivityId,
        device: str,
        model: str,
        chunk: Chunk | None = None,
    ) -> OpenBar:
        run = None if chunk is None else self.book.stages[chunk.instance]
        bar = Bar(
            activity=activity,
            kind=kind,
            device=device,
            row=self.lanes[device].enter(kind),
            model=model,
            workflow="" if run is None else run.workflow,
            instance="" if run is None else run.instance,
            start=0 if chunk is None else chunk.start,
            stop=0 if chunk is None else chunk.stop,
            attempt=1 if run is None or chunk is None else run.attempt(chunk),
            start_s=self.now_s,
            end_s=self.now_s,
            outcome="running",
            plan=self._plan_of(chunk, device) if kind == "call" else NO_PLAN,
        )
        if chunk is not None:
            self.book.start(chunk, self.now_s)
        self._started += 1
        opened = OpenBar(self._started, bar, self.now_s, run, chunk, self._why_unplanned(device))
        self.open[activity] = opened
        return opened

    def _prepare(
        self, kind: ActivityKind, command: m.Load | m.Unload, wanted: str | None, carried: int
    ) -> None:
        """Open a load or unload, and find the chunk that it makes room for."""
        opened = self._open(kind, command.activity, command.device, command.model)
        opened.bar = msgspec.structs.replace(opened.bar, carried=carried)
        for chunk in self.lanes[command.device].order:
            run = self.book.stages.get(chunk.instance)
            if run is None or run.ready == 0 or not run.missing(chunk):
                continue
            if wanted is None or run.stage.model == wanted:
                opened.run = run
                opened.committed = min(run.ready, len(run.missing(chunk)))
                opened.bar = msgspec.structs.replace(
                    opened.bar, workflow=run.workflow, instance=run.instance
                )
                self.book.commit(run, opened.committed)
                return

    def _plan_of(self, chunk: Chunk | None, device: str) -> int:
        """Return the version of the plan that put a chunk here, or why it took none."""
        placed, version = self._placed.get(chunk, ("", 0)) if chunk else ("", 0)
        return version if placed == device else self._why_unplanned(device)

    def _why_unplanned(self, device: str) -> int:
        """A step of a chain goes on for the reason that the chain was started for."""
        ended_s, why = self.lanes[device].chain
        return why if ended_s == self.now_s else self._unplanned

    def _item_done(self, event: m.ItemDone) -> None:
        opened = self.open.get(event.activity)
        if opened is None or opened.run is None:
            return
        opened.item(event, self.now_s)
        self.book.item_done(opened.run, event.item, self.now_s)

    def _close(self, activity: m.ActivityId, outcome: Outcome, reason: str = "") -> None:
        opened = self.open.pop(activity, None)
        if opened is None:
            return
        bar = opened.closed(self.now_s, outcome, reason)
        self._bars.append((opened.number, bar))
        self.lanes[bar.device].leave(bar.kind, bar.row)
        if bar.kind in ("load", "unload"):
            self.lanes[bar.device].chain = (self.now_s, opened.unplanned)
            if (bar.kind == "unload") == (outcome == "done"):
                self.lanes[bar.device].held.pop(bar.model, None)
        if opened.run is not None and opened.committed:
            self.book.commit(opened.run, -opened.committed)
        if opened.run is not None and opened.chunk is not None:
            failed = outcome in ("failed", "lost")
            self.book.end_attempt(opened.run, opened.chunk, failed=failed)
        self.counts = self._counted(bar)

    def _counted(self, bar: Bar) -> Counts:
        """Return the totals with a finished bar added."""
        old, done = self.counts, bar.outcome == "done"
        return msgspec.structs.replace(
            old,
            model_loads=old.model_loads + (done and bar.kind == "load"),
            evictions=old.evictions + (done and bar.kind == "unload"),
            moves=old.moves + (done and bar.kind == "move" and bar.source != bar.device),
            copies=old.copies + (done and bar.kind == "move" and bar.source == bar.device),
            calls=old.calls + (bar.kind == "call"),
            fallback_calls=old.fallback_calls + (bar.plan == FALLBACK),
            overdue_calls=old.overdue_calls + (bar.plan == OVERDUE),
            failed_attempts=old.failed_attempts + (bar.outcome in ("failed", "lost")),
            prompt_tokens=old.prompt_tokens + bar.prompt_tokens,
            cached_tokens=old.cached_tokens + bar.cached_tokens,
            output_tokens=old.output_tokens + bar.output_tokens,
        )

    def _count(self, **more: int) -> None:
        totals = {name: getattr(self.counts, name) + number for name, number in more.items()}
        self.counts = msgspec.structs.replace(self.counts, **totals)

    def _states_carried(self, event: m.Done) -> None:
        """Count the KV states that an unload saved, a load brought back or a move carried."""
        opened = self.open.get(event.activity)
        if opened is None:
            return
        carried = opened.bar.carried - len(event.missing)
        if event.moved_bytes:
            self._count(moved_bytes=event.moved_bytes)
        if carried > 0:
            self._count(**{"parked" if opened.bar.kind == "unload" else "restored": carried})
            opened.bar = msgspec.structs.replace(opened.bar, carried=carried)

    def _lost(self, event: m.DeviceLost) -> None:
        for activity, opened in list(self.open.items()):
            if opened.bar.device == event.device:
                self._close(activity, "lost", event.reason)
        self.lanes[event.device].healthy = False
        self.lanes[event.device].held.clear()
        self._count(device_losses=1)

    def _resumed(self, event: m.Resumed) -> None:
        """Nothing runs and nothing is loaded any more: the process behind it was another one."""
        for activity in list(self.open):
            self._close(activity, "interrupted", event.reason or "the process ended")
        for lane in self.lanes.values():
            lane.healthy, lane.order = True, ()
            lane.held.clear()
        self._count(interruptions=1)

    def _planned(self, event: m.Planned | m.PlanFailed) -> None:
        waited_s = self.idle.planned()
        if isinstance(event, m.PlanFailed):
            self._plans.append(
                PlanSpan(
                    at_s=self.now_s,
                    version=event.version,
                    waited_s=waited_s,
                    failed=event.reason,
                )
            )
            return
        for device, order in zip(self._devices, event.plan.orders, strict=True):
            self.lanes[device].order = order
            self._placed.update((chunk, (device, event.version)) for chunk in order)
        self._plans.append(
            PlanSpan(
                at_s=self.now_s,
                version=event.version,
                policy=event.plan.policy,
                search=event.plan.search,
                heads=tuple(str(order[0]) if order else "" for order in event.plan.orders),
                waited_s=waited_s,
            )
        )

    def _workflow_ended(self, command: m.WorkflowEnded) -> None:
        span = self.book.workflows[command.workflow]
        self.book.end(
            msgspec.structs.replace(
                span, end_s=self.now_s, status=command.status, reason=command.reason
            )
        )
