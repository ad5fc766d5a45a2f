"""The live view of a run as lines of styled text: what is shown, and what goes when room is short.

Pure: from a fold and a few gauges to lines; `view.live` brings them onto the terminal.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from fate.domain.catalog import Cluster, Device
from fate.view.bars import Lane, OpenBar
from fate.view.fold import Fold
from fate.view.history import HOST, IDLE_LABELS
from fate.view.news import short
from fate.view.rollup import RowState, StageRow, rollup

#: A piece of text and its style, in the words of rich.
Span: TypeAlias = tuple[str, str]
Line: TypeAlias = list[Span]

#: How each state of a stage looks.
_MARKS: dict[RowState, Span] = {
    "running": (">", "bold cyan"),
    "failed": ("x", "bold red"),
    "ready": ("o", "cyan"),
    "waiting": (".", "dim"),
    "done": ("+", "green"),
    "skipped": ("-", "dim"),
}
#: Which stages are shown first where there is no room for all.
_URGENCY: dict[RowState, int] = {s: n for n, s in enumerate(_MARKS)}
#: Lines that stages may have before plans ahead get theirs, and the most that events get.
_FEWEST_STAGES, _MOST_EVENTS = 3, 5
#: Items of a device's plan that are named.
_AHEAD = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Gauges:
    """What the log does not tell.

    Attributes:
        title, policy: what runs, and who decides.
        now_s: the run's clock.
        first_end_s, expected_end_s: the end expected at first and now, None while unknown.
        expected_s: seconds that activities in progress are expected to take in all.
        cpu_share: of all cores, what scheduling has taken.
        tokens_per_s: prompt tokens computed and tokens written, each second of late.
        events: latest news, oldest first.
    """

    title: str
    policy: str
    now_s: float
    first_end_s: float | None = None
    expected_end_s: float | None = None
    expected_s: Mapping[int, float] = field(default_factory=dict[int, float])
    cpu_share: float = 0.0
    tokens_per_s: tuple[float, float] = (0.0, 0.0)
    events: Sequence[str] = ()


def screen(fold: Fold, cluster: Cluster, gauges: Gauges, width: int, height: int) -> list[Line]:
    """Return at most `height` lines of at most `width` characters.

    With little room plans ahead go first, then events, then stages, then all but one line for
    each device; header and totals always stay.
    """
    rows = rollup(fold.book)
    devices = [_device(fold, device, gauges) for device in cluster.devices]
    tools = _tools(fold, gauges)
    if tools:
        devices.append([tools])
    room = max(height - 2, 1)
    busy = [line for lines in devices for line in lines]
    if len(busy) > room - min(len(rows), _FEWEST_STAGES):
        busy = _shortened([lines[0] for lines in devices], room)
    room -= len(busy)
    ahead = _ahead(fold, cluster)
    stages = min(len(rows), room)
    if stages + len(ahead) > room and len(ahead) + _FEWEST_STAGES > room:
        ahead = []
    stages = min(stages, room - len(ahead))
    events = list(gauges.events)[-_MOST_EVENTS:]
    events = events[max(0, len(events) - (room - stages - len(ahead))) :]
    lines = [
        _header(fold, rows, gauges),
        *_stages(rows, stages, width),
        *busy,
        *ahead,
        _totals(fold, gauges),
        *[[("! ", "yellow"), (event, "")] for event in events],
    ]
    return [_cut(line, width) for line in lines[:height]]


def _header(fold: Fold, rows: Sequence[StageRow], gauges: Gauges) -> Line:
    book = fold.book
    total, done = len(book.stages), book.done_stages + book.skipped_stages
    line: Line = [
        (f"{gauges.title} ", "bold"),
        (f"{gauges.policy}  ", "dim"),
        (f"{done}/{total} stages  ", "green" if done == total else ""),
        (f"{_clock(gauges.now_s)}", "bold"),
    ]
    if gauges.expected_end_s is None:
        return line
    end_s = max(gauges.expected_end_s, gauges.now_s)
    line.append((f" of ~{_clock(end_s)}", ""))
    line.append((f", {_clock(end_s - gauges.now_s)} left", "bold cyan"))
    first_s = gauges.first_end_s
    if first_s is not None and end_s > 0:
        line.append((f"  (at first {_clock(first_s)}, {first_s / end_s - 1:+.0%})", "dim"))
    return line


def _stages(rows: Sequence[StageRow], room: int, width: int) -> list[Line]:
    """Return a line per stage; where there is no room, the quietest are counted instead."""
    shown = list(rows)
    if len(rows) > room:
        urgent = sorted(range(len(rows)), key=lambda i: (_URGENCY[rows[i].state], i))
        chosen = sorted(urgent[: max(room - 1, 0)])
        shown = [rows[i] for i in chosen]
    label = min(max((len(r.name) + 2 * r.depth for r in rows), default=0), max(width // 3, 12))
    model = min(max((len(r.model or r.kind) for r in rows), default=0), max(width // 4, 8))
    meter = max(min(width - label - model - 16, 30), 0)
    lines = [_stage(row, label, model, meter) for row in shown]
    if len(shown) < len(rows) and room > 0:
        hidden = [row.state for row in rows if all(row is not other for other in shown)]
        counts = [f"{hidden.count(s)} {s}" for s in _MARKS if s in hidden]
        lines.append([(f"  and {', '.join(counts)}", "dim")])
    return lines


def _stage(row: StageRow, label: int, model: int, meter: int) -> Line:
    mark, style = _MARKS[row.state]
    quiet = "dim" if row.state in ("waiting", "skipped") else ""
    name = _fit("  " * row.depth + row.name, label)
    what = _fit(row.model or row.kind, model)
    share = 1.0 if row.state == "done" else row.done / row.total if row.total else 0.0
    full, at_work = round(meter * min(share, 1.0)), 0
    if row.total:
        at_work = min(round(meter * row.running / row.total), meter - full)
    return [
        (f"{mark} ", style),
        (f"{name} ", quiet),
        (f"{what} ", "dim"),
        (f"{row.done:>4}/{row.total:<4} ", quiet),
        ("━" * full, "green"),
        ("━" * at_work, "cyan"),
        ("─" * (meter - full - at_work), "dim"),
    ]


def _device(fold: Fold, device: Device, gauges: Gauges) -> list[Line]:
    """Return a line for each activity of a device, or one that says why there is none."""
    lane = fold.lanes[device.id]
    label = max(len(name) for name in fold.lanes)
    opened = [one for one in fold.open.values() if one.bar.device == device.id]
    memory = _memory(lane, device)
    lines: list[Line] = []
    for number, one in enumerate(opened):
        name = device.id if not number else ""
        head: Line = [(f"{name:{label}} ", "bold"), *(memory if not number else _blank(memory))]
        lines.append([*head, *_activity(fold, one, gauges)])
    if not lines:
        reason = f"idle: {IDLE_LABELS[fold.idle.reason(lane)]}"
        what = reason if fold.book.workflows else "starting"
        style = "red" if not lane.healthy else "yellow"
        lines.append([(f"{device.id:{label}} ", "bold"), *memory, (what, style)])
    return lines


def _memory(lane: Lane, device: Device) -> Line:
    """Return a bar of the memory that is taken of the budget; nothing for a server's models."""
    if not device.managed or device.memory_bytes <= 0:
        return []
    held, cells = sum(lane.held.values()), 8
    full = min(round(cells * held / device.memory_bytes), cells)
    style = "magenta" if full < cells else "red"
    text = f" {held / 2**20:5.0f}/{device.memory_bytes / 2**20:.0f} MiB  "
    return [("▮" * full, style), ("▯" * (cells - full), "dim"), (text, "dim")]


def _blank(line: Line) -> Line:
    return [(" " * sum(len(text) for text, _ in line), "")]


def _activity(fold: Fold, opened: OpenBar, gauges: Gauges) -> Line:
    bar = opened.bar
    took_s = max(gauges.now_s - bar.start_s, 0.0)
    expected = gauges.expected_s.get(bar.activity)
    time = f"{took_s:.1f} s" if expected is None else f"{took_s:.1f} of {expected:.1f} s"
    late = expected is not None and took_s > 1.5 * expected + 0.5
    what = bar.model if bar.kind in ("load", "unload", "move", "warm") else _item(fold, opened)
    of: Line = [] if what == bar.model or not bar.model else [(f"{bar.model}  ", "dim")]
    name = "copy" if bar.kind == "move" and bar.source == bar.device else bar.kind
    kind = "cyan" if bar.kind in ("call", "tool") else "magenta"
    return [
        (f"{name} ", kind),
        (f"{what}  ", ""),
        *of,
        (time, "bold red" if late else "dim"),
    ]


def _item(fold: Fold, opened: OpenBar) -> str:
    """Return what a call or tool is at: the first item of its chunk that is not done."""
    bar, run = opened.bar, opened.run
    name = short(fold, bar.instance)
    if run is None or run.total is None or run.total <= 1 or opened.chunk is None:
        return name
    left = run.missing(opened.chunk)
    return f"{name}[{left[0] if left else bar.stop - 1}]"


def _tools(fold: Fold, gauges: Gauges) -> Line:
    opened = [one for one in fold.open.values() if one.bar.device == HOST]
    if not opened:
        return []
    label = max(len(name) for name in fold.lanes)
    more = f"  and {len(opened) - 1} more" if len(opened) > 1 else ""
    return [(f"{HOST:{label}} ", "bold"), *_activity(fold, opened[0], gauges), (more, "dim")]


def _shortened(lines: list[Line], room: int) -> list[Line]:
    """Return the first lines, the last of them counting the rest, where not all fit."""
    if len(lines) <= room:
        return lines
    rest = len(lines) - max(room - 1, 0)
    return [*lines[: max(room - 1, 0)], [(f"and {rest} more devices", "dim")]]


def _ahead(fold: Fold, cluster: Cluster) -> list[Line]:
    """Return what the plan holds for each device, as far as it has not begun."""
    label = max(len(name) for name in fold.lanes)
    begun = {opened.chunk for opened in fold.open.values()}
    lines: list[Line] = []
    for device in cluster.devices:
        waiting: list[str] = []
        for chunk in fold.lanes[device.id].order:
            run = fold.book.stages.get(chunk.instance)
            if run is not None and chunk not in begun and run.ready and run.missing(chunk):
                places = f"[{chunk.start}]" if chunk.stop - chunk.start == 1 else ""
                places = places or f"[{chunk.start}:{chunk.stop}]"
                many = (run.total or 0) > 1
                waiting.append(short(fold, chunk.instance) + (places if many else ""))
        if waiting:
            more = f" and {len(waiting) - _AHEAD} more" if len(waiting) > _AHEAD else ""
            text = ", ".join(waiting[:_AHEAD]) + more
            lines.append([(f"{device.id:{label}} ", "dim"), ("next ", "dim"), (text, "")])
    return lines


def _totals(fold: Fold, gauges: Gauges) -> Line:
    counts = fold.counts
    computed, written = gauges.tokens_per_s
    share = counts.cached_tokens / counts.prompt_tokens if counts.prompt_tokens else 0.0
    loads = f"{counts.model_loads} load{'' if counts.model_loads == 1 else 's'}"
    text = (
        f"tokens/s {computed:.0f} in, {written:.0f} out; {share:.0%} of prompts cached; "
        f"{loads}; scheduler {gauges.cpu_share:.1%} of cores"
    )
    return [(text, "dim")]


def _clock(seconds: float) -> str:
    """Return seconds as people read them: `8.3 s`, `2:05`, `1:02:03`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, left = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{left:02}" if hours else f"{minutes}:{left:02}"


def _fit(text: str, width: int) -> str:
    """Return text padded or cut to a width."""
    return text.ljust(width) if len(text) <= width else text[: max(width - 1, 0)] + "…"


def _cut(line: Line, width: int) -> Line:
    """Return a line's spans, none beyond `width`, none with characters that end a line."""
    found: Line = []
    left = width
    for text, style in line:
        clean = text
        if not text.isprintable():
            clean = "".join(letter if letter.isprintable() else " " for letter in text)
        if left > 0 and clean:
            found.append((clean[:left], style))
            left -= len(clean)
    return found
