"""Plain progress lines while a run goes on; for terminals and log files alike."""

from collections.abc import Callable, Iterator

from fate.domain import messages as m
from fate.domain.catalog import Cluster
from fate.view.bars import OpenBar
from fate.view.fold import Fold
from fate.view.stage_run import StageRun

#: Commands and events that change what a line says.
_NEWS = (m.Submitted, m.ItemDone, m.Done, m.Load, m.Call, m.RunTool)
#: Pieces of a line that say what is going on.
_PIECES = 4


class Progress:
    """Writes what is going on, record by record.

    Ordinary news come at most every `every_s` of the clock that `add` is given; failures, lost
    devices and ends of workflows always. `fold` has the history of what it was fed.
    """

    def __init__(
        self,
        cluster: Cluster,
        write: Callable[[str], object],
        *,
        every_s: float = 1.0,
        simulated: bool = False,
    ) -> None:
        self.fold = Fold(cluster)
        self._write, self._every_s = write, every_s
        self._mark = "simulated " if simulated else ""
        self._next_s = float("-inf")
        self._news = False
        self._last = ""

    def add(self, record: m.Record, clock_s: float) -> None:
        """Take the next record in; `clock_s` is the reader's time, which limits the rate."""
        troubles = list(self._troubles(record))
        self.fold.add(record)
        for trouble in troubles:
            self._line(record.at_s, trouble)
        self._news = self._news or any(
            isinstance(message, _NEWS) for message in (*record.events, *record.commands)
        )
        if self._news and clock_s >= self._next_s:
            self._news, self._next_s = False, clock_s + self._every_s
            state = self._state()
            if state != self._last:
                self._last = state
                self._line(record.at_s, state)

    def _line(self, at_s: float, text: str) -> None:
        self._write(f"{self._mark}{at_s:.1f}s  {text}")

    def _troubles(self, record: m.Record) -> Iterator[str]:
        """Yield what must not be missed; called before the record closes its activities."""
        for event in record.events:
            if isinstance(event, m.Failed) and event.activity in self.fold.open:
                bar = self.fold.open[event.activity].bar
                what = f"{bar.kind} {self._short(bar.instance) or bar.model}"
                yield f"{what} on {bar.device} failed: {event.reason}"
            elif isinstance(event, m.DeviceLost):
                yield f"device {event.device} lost: {event.reason}"
            elif isinstance(event, m.DeviceReady):
                yield f"device {event.device} is back"
            elif isinstance(event, m.PlanFailed):
                yield f"planning failed, going on without: {event.reason}"
            elif isinstance(event, m.ExpandFailed):
                yield f"{self._short(event.instance)} cannot be rendered: {event.reason}"
        yield from self._verdicts(record)

    def _verdicts(self, record: m.Record) -> Iterator[str]:
        """Yield what the core made of it: the end of workflows, devices it trusts or does not."""
        for command in record.commands:
            if isinstance(command, m.WorkflowEnded):
                reason = f": {command.reason}" if command.reason else ""
                yield f"workflow {command.workflow} {command.status}{reason}"
            elif isinstance(command, m.Drained):
                again = f"tried again at {command.until_s:.1f} s"
                yield f"device {command.device} drained, {again}: {command.reason}"
            elif isinstance(command, m.Readmitted):
                yield f"device {command.device} does well again"

    def _state(self) -> str:
        """Return what is going on: maps with their items, then calls and loads, then totals."""
        book, counts = self.fold.book, self.fold.counts
        pieces = list(dict.fromkeys(self._piece(opened) for opened in self.fold.open.values()))
        shown = pieces[:_PIECES]
        if len(pieces) > _PIECES:
            shown.append(f"+{len(pieces) - _PIECES} more")
        shown.append(f"{book.done_stages}/{len(book.stages)} stages")
        shown.append(f"{counts.model_loads} load{'' if counts.model_loads == 1 else 's'}")
        return "  ".join(shown)

    def _piece(self, opened: OpenBar) -> str:
        bar = opened.bar
        where = f"on {bar.device}" + (f" ({bar.model})" if bar.kind == "call" else "")
        if bar.kind in ("load", "unload"):
            return f"{bar.kind}ing {bar.model} {where}"
        if opened.run is None:
            return f"{bar.kind} {bar.model} {where}"
        return self._stage(opened.run) or f"{self._short(bar.instance)} running {where}"

    def _stage(self, run: StageRun) -> str:
        if run.total is None or run.total <= 1:
            return ""
        return f"{self._short(run.instance)} {len(run.done)}/{run.total}"

    def _short(self, instance: str) -> str:
        """Return an instance's name without its workflow, where there is only one."""
        return instance.partition("/")[2] if len(self.fold.book.workflows) == 1 else instance
