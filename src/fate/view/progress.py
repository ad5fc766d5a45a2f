"""Plain progress lines while a run goes on; for terminals and log files alike."""

from collections.abc import Callable

from fate.domain import messages as m
from fate.domain.catalog import Cluster
from fate.view.bars import OpenBar
from fate.view.fold import Fold
from fate.view.news import short, troubles
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
        found = list(troubles(self.fold, record))
        self.fold.add(record)
        for trouble in found:
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
        return self._stage(opened.run) or f"{short(self.fold, bar.instance)} running {where}"

    def _stage(self, run: StageRun) -> str:
        if run.total is None or run.total <= 1:
            return ""
        return f"{short(self.fold, run.instance)} {len(run.done)}/{run.total}"
