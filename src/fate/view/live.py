"""The live view on a terminal: redrawn in place a few times a second, gone when the run is.

The only module that imports rich; whatever ends the run, leaving `LiveView` gives the terminal
back as it was.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from types import TracebackType

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.segment import Segment

from fate.domain import messages as m
from fate.domain.catalog import Cluster
from fate.view.fold import Fold
from fate.view.news import troubles
from fate.view.screen import Gauges, Line, screen

#: Seconds between two frames, at least; and the longest without one, for clocks to go on.
_EVERY_S, _AT_LEAST_S = 0.25, 1.0
#: Share of one core that drawing may take.
_CPU_SHARE = 0.01
#: Seconds over which tokens per second are taken.
_WINDOW_S = 10.0
#: News that are kept.
_NEWS = 20


class LiveView:
    """Shows a run while it goes on; fed record by record, as `Progress` is.

    `fold` has the history of what it was fed, `cpu_s` the CPU seconds that it took to follow
    the run and to draw.
    """

    def __init__(
        self,
        cluster: Cluster,
        gauges: Callable[["LiveView"], Gauges],
        console: Console | None = None,
    ) -> None:
        """Prepare; nothing is drawn before `with`.

        Args:
            cluster: devices in the order they are shown in.
            gauges: what the log does not tell, asked for before each frame.
            console: the terminal, by default the one behind stderr.
        """
        self.fold = Fold(cluster)
        self.news: deque[str] = deque(maxlen=_NEWS)
        self.cpu_s = 0.0
        self._cluster, self._gauges = cluster, gauges
        self._console = console or Console(stderr=True)
        self._live: Live | None = None
        self._task: asyncio.Task[None] | None = None
        self._tokens: deque[tuple[float, int, int]] = deque()
        self._changed = True

    def add(self, record: m.Record, _clock_s: float = 0.0) -> None:
        """Take the next record in; drawing is left to the next frame."""
        started_s = time.thread_time()
        self.news.extend(f"{record.at_s:.1f}s  {text}" for text in troubles(self.fold, record))
        self.fold.add(record)
        self._changed = True
        for event in record.events:
            if isinstance(event, m.ItemDone):
                computed = event.prompt_tokens - event.cached_tokens
                self._tokens.append((record.at_s, computed, event.output_tokens))
        self.cpu_s += time.thread_time() - started_s

    def say(self, text: str) -> None:
        """Show a line among the news, or print it where nothing is drawn."""
        if self._live is None:
            self._console.print(text, markup=False, highlight=False)
        else:
            self.news.append(text)
            self._changed = True

    def tokens_per_s(self, now_s: float) -> tuple[float, float]:
        """Return prompt tokens computed and tokens written, each second of the last ten."""
        while self._tokens and self._tokens[0][0] < now_s - _WINDOW_S:
            self._tokens.popleft()
        span_s = max(min(now_s, _WINDOW_S), 1e-3)
        computed = sum(computed for _, computed, _ in self._tokens)
        return computed / span_s, sum(written for _, _, written in self._tokens) / span_s

    def draw(self) -> None:
        """Draw a frame now."""
        started_s = time.thread_time()
        if self._live is not None:
            size = self._console.size
            # The last line stays free: writing to it would scroll small terminals.
            height = max(size.height - 1, 1)
            gauges = self._gauges(self)
            frame = Frame(screen(self.fold, self._cluster, gauges, size.width, height))
            self._live.update(frame, refresh=True)
        self.cpu_s += time.thread_time() - started_s

    async def __aenter__(self) -> "LiveView":
        """Take the terminal and begin to draw."""
        self._live = Live(
            console=self._console, auto_refresh=False, transient=True, vertical_overflow="crop"
        )
        self._live.start()
        self._task = asyncio.create_task(self._redraw())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give the terminal back."""
        live, self._live = self._live, None
        if live is not None:
            live.stop()
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _redraw(self) -> None:
        drawn_s, wait_s = -_AT_LEAST_S, 0.0
        while True:
            now_s = time.monotonic()
            if self._changed or now_s - drawn_s >= _AT_LEAST_S:
                self._changed, drawn_s = False, now_s
                before_s = self.cpu_s
                self.draw()
                wait_s = (self.cpu_s - before_s) / _CPU_SHARE
            await asyncio.sleep(max(_EVERY_S, min(wait_s, 10.0)))


class Frame:
    """Lines as rich draws them: without wrapping, measuring or markup, which cost most."""

    def __init__(self, lines: list[Line]) -> None:
        self._lines = lines

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the segments."""
        return self._segments(console)

    def _segments(self, console: Console) -> Iterator[Segment]:
        for number, line in enumerate(self._lines):
            if number:
                yield Segment.line()
            for text, style in line:
                yield Segment(text, console.get_style(style) if style else None)
