"""What is said of a run while it goes on: plain lines, or the live view on a terminal."""

import asyncio
import os
import signal
import sys
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from fate import registry
from fate.domain.catalog import Cluster
from fate.domain.messages import Record
from fate.drivers.clock import WallClock
from fate.drivers.gauges import read_gauges
from fate.drivers.outlook import Outlook
from fate.drivers.run import Runtime
from fate.jobs import Job
from fate.session import Choice, choose
from fate.view.fold import Fold
from fate.view.progress import Progress
from fate.view.screen import Gauges

if TYPE_CHECKING:
    from fate.view.live import LiveView


#: Old records read in a row, a few milliseconds of work, and the pause in between for others [s].
_AT_ONCE, _PAUSE_S = 100, 0.01


class Show:
    """Progress of one run, fed record by record; `outlook` predicts its end meanwhile."""

    def __init__(self, job: Job, choice: Choice, *, quiet: bool, plain: bool) -> None:
        policy, self._policy_name, _ = choose(job, choice)
        cores = len(os.sched_getaffinity(0))
        cheaper = registry.build("policy", "late-eft")
        self.outlook = Outlook(policy, cheaper=cheaper, cores=cores)
        self._predicted_s: float | None = None
        self._title, self._quiet = job.name, quiet
        self._clock = WallClock()
        self._runtime: Runtime | None = None
        self._unread: deque[tuple[Callable[[Record], None], Record]] = deque()
        self._progress = Progress(job.resolved.cluster, self._line)
        watched = not (quiet or plain) and _terminal()
        self._view = _view(job.resolved.cluster, self._gauges) if watched else None

    @property
    def fold(self) -> Fold:
        """The history of the run so far."""
        self._read(len(self._unread))
        return self._fold

    def say(self, line: str) -> None:
        """Show a line, unless nothing is to be said."""
        if self._view is None:
            self._line(line)
        else:
            self._view.say(line)

    def recall(self, records: Iterable[Record]) -> None:
        """Know what former processes recorded: read bit by bit while devices work again."""
        self._unread.extend((self._fold.add, record) for record in records)

    def add(self, record: Record) -> None:
        """Take the next record in, behind those that are not read yet."""
        if self._unread:
            self._unread.append((self._take, record))
        else:
            self._take(record)

    @property
    def _fold(self) -> Fold:
        return self._progress.fold if self._view is None else self._view.fold

    def _read(self, most: int) -> None:
        for _ in range(min(most, len(self._unread))):
            take, record = self._unread.popleft()
            take(record)

    async def _catch_up(self) -> None:
        while self._unread:
            self._read(_AT_ONCE)
            await asyncio.sleep(_PAUSE_S)

    def _take(self, record: Record) -> None:
        if self._view is None:
            self._progress.add(record, self._clock.now_s())
        else:
            self._view.add(record)

    def expects(self, makespan_s: float | None) -> None:
        """Show when the run was expected to end before it began [s]."""
        self._predicted_s = makespan_s

    def started(self, runtime: Runtime) -> None:
        """The run begins: predict its end, and let Ctrl-C end it cleanly."""
        self._runtime = runtime
        self.outlook.start(runtime)
        _on_interrupt(runtime, self)

    @asynccontextmanager
    async def watching(self) -> AsyncGenerator[None]:
        """Draw while the run goes on; whatever ends it, the terminal is given back."""
        behind = asyncio.create_task(self._catch_up())
        try:
            if self._view is None:
                yield
            else:
                async with self._view:
                    yield
        finally:
            await asyncio.gather(self.outlook.stop(), behind)

    def _line(self, line: str) -> None:
        if not self._quiet:
            print(line, file=sys.stderr, flush=True)

    def _gauges(self, view: "LiveView") -> Gauges:
        runtime = self._runtime
        base = Gauges(
            title=self._title,
            policy=self._policy_name,
            now_s=0.0,
            first_end_s=self._predicted_s,
            tokens_per_s=(0.0, 0.0) if runtime is None else view.tokens_per_s(runtime.now_s),
            events=tuple(view.news),
        )
        return base if runtime is None else read_gauges(runtime, self.outlook, base, view.fold.open)


def _view(cluster: Cluster, gauges: "Callable[[LiveView], Gauges]") -> "LiveView":
    """Return the view; rich is imported only where there is a terminal to show it on."""
    from fate.view.live import LiveView

    return LiveView(cluster, gauges)


def _terminal() -> bool:
    return sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb"


def _on_interrupt(runtime: Runtime, show: Show) -> None:
    """Ctrl-C ends the run cleanly; the second one cancels the whole task."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()

    def first() -> None:
        show.say("stopping: what is finished is kept; Ctrl-C again stops at once")
        runtime.stop("cancelled by the user")
        loop.add_signal_handler(signal.SIGINT, second)

    def second() -> None:
        if task is not None:
            task.cancel()

    loop.add_signal_handler(signal.SIGINT, first)
    loop.add_signal_handler(signal.SIGTERM, first)
