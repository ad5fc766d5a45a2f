"""Why a device did nothing, judged between any two records of the log."""

from collections.abc import Collection

from fate.domain import messages as m
from fate.view.bars import Lane
from fate.view.history import Idle, IdleReason
from fate.view.stages import StageBook

#: Events after which the core asks for a plan, if a device is idle and has something to run.
_TRIGGERS = (
    m.Submitted,
    m.Expanded,
    m.Revealed,
    m.Skipped,
    m.Resumed,
    m.Done,
    m.Failed,
    m.Cancelled,
    m.DeviceLost,
    m.DeviceReady,
)


class IdleWatch:
    """Gathers the idle spans of the devices while a log is read.

    The log does not say when a plan was asked for, since that is derived: it is when something
    changed while a device was idle and had work it could run, or, if a plan was in flight then,
    when that plan arrived. While stages are being rendered the core waits for what they turn out
    to be.
    """

    def __init__(self, lanes: Collection[Lane], book: StageBook) -> None:
        self._lanes, self._book = lanes, book
        self._spans: list[Idle] = []
        self._last: dict[str, Idle] = {}
        self._now_s = 0.0
        self._stopping = False
        self._changed = False
        self._asked_s: float | None = None

    def advance(self, now_s: float) -> None:
        """Account for the time up to `now_s`, in which nothing changed."""
        if now_s > self._now_s:
            for lane in self._lanes:
                if lane.free > 0:
                    self._extend(lane, now_s)
        self._now_s = now_s

    def planned(self) -> float:
        """A plan arrived; return for how long an idle device has waited for it [s]."""
        waited_s = 0.0 if self._asked_s is None else self._now_s - self._asked_s
        self._asked_s = None
        return waited_s

    def after(self, record: m.Record) -> None:
        """Note what a record means for planning, once it is applied."""
        for event in record.events:
            if isinstance(event, m.CancelAll):
                self._stopping = True
            elif isinstance(event, m.Resumed):
                self._stopping = False
            self._changed = self._changed or isinstance(event, _TRIGGERS)
        if any(isinstance(command, m.Expand) for command in record.commands):
            return
        if self._changed and self._asked_s is None and any(map(self._could_start, self._lanes)):
            self._asked_s, self._changed = self._now_s, False

    def spans(self, start_s: float, end_s: float) -> tuple[Idle, ...]:
        """Return the spans between two times, by device and time."""
        order = {lane.id: number for number, lane in enumerate(self._lanes)}
        clipped = [
            Idle(
                device=span.device,
                start_s=max(span.start_s, start_s),
                end_s=min(span.end_s, end_s),
                slots=span.slots,
                reason=span.reason,
            )
            for span in (*self._spans, *self._last.values())
            if span.end_s > start_s and span.start_s < end_s
        ]
        return tuple(sorted(clipped, key=lambda span: (order[span.device], span.start_s)))

    def _extend(self, lane: Lane, now_s: float) -> None:
        reason, start_s = self.reason(lane), self._now_s
        last = self._last.get(lane.id)
        if last is not None:
            if (last.end_s, last.reason, last.slots) == (start_s, reason, lane.free):
                start_s = last.start_s
            else:
                self._spans.append(last)
        self._last[lane.id] = Idle(
            device=lane.id, start_s=start_s, end_s=now_s, slots=lane.free, reason=reason
        )

    def reason(self, lane: Lane) -> IdleReason:
        """Return why a free slot of a device does nothing at this moment."""
        away = self._away(lane)
        if away is not None:
            return away
        if self._stopping or not self._book.open_workflows:
            return "ended"
        if lane.others:
            return "loading"
        if self._has_work(lane):
            return "planning" if self._asked_s is not None else self._held(lane)
        if any(self._book.waiting.get(model, 0) > 0 for model in lane.models):
            return "parents"
        return "none"

    def _away(self, lane: Lane) -> IdleReason | None:
        """Return why a device may not work; None where it may, if only as a trial."""
        if not lane.healthy:
            return "lost"
        if lane.aside is None or lane.aside.until_s <= self._now_s:
            return None
        return "resting" if lane.aside.rests else "drained"

    def _held(self, lane: Lane) -> IdleReason:
        """Tell a device that has to make room for its next chunk from one that has none."""
        for chunk in lane.order:
            run = self._book.stages.get(chunk.instance)
            if run is not None and run.ready and run.missing(chunk):
                return "plan" if run.stage.model in lane.held else "memory"
        return "plan"

    def _could_start(self, lane: Lane) -> bool:
        return lane.healthy and lane.free > 0 and self._has_work(lane)

    def _has_work(self, lane: Lane) -> bool:
        return any(self._book.ready.get(model, 0) > 0 for model in lane.models)
