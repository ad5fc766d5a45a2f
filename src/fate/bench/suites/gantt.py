"""One instance under two policies, as lanes of devices over the same axis of time."""

from collections.abc import Mapping, Sequence
from html import escape

from fate.bench.suites.axis import tick_text, ticks
from fate.bench.suites.tables import Table
from fate.domain.catalog import Cluster
from fate.view.history import Bar, History

#: Height of a device's lane with one slot, the gap below it, and of the axis' numbers [px].
_LANE, _GAP, _FOOT = 18, 4, 18
#: Lanes of several slots: height of each [px], and of them all at most.
_SLOT, _TALLEST = 6, 72
#: Where the axis ends [% of the width]: there is room for half a number.
_RIGHT = 98.0
#: Width of a letter of devices' names [px].
_LETTER = 6.6


def gantt(cluster: Cluster, histories: Mapping[str, History]) -> str:
    """Return the lanes of each policy's run, one below the other.

    Loads and unloads are grey, calls have their model's colour; fetching a parent's output is the
    start of a call. What runs at once on a device has rows of its own.
    """
    span_s = max(history.makespan_s for history in histories.values())
    models = {model.id: i % 8 for i, model in enumerate(cluster.models)}
    rows = {
        device.id: max(_rows(device.id, history) for history in histories.values())
        for device in cluster.devices
    }
    parts = [_lanes(name, rows, history, span_s, models) for name, history in histories.items()]
    called = {bar.model for history in histories.values() for bar in history.bars}
    marks = "".join(
        f'<span><i class="c{i}"></i>{escape(model)}</span>'
        for model, i in models.items()
        if model in called
    )
    return (
        f'{"".join(parts)}<p class="axis across">virtual time [s]</p>'
        f'<p class="legend"><span><i class="load"></i>load</span>{marks}</p>'
    )


def gantt_table(histories: Mapping[str, History]) -> Table:
    """Return what the two runs came to."""
    lines = [
        (
            name,
            f"{history.makespan_s:.1f}",
            str(history.counts.model_loads),
            f"{100 * history.counts.cached_tokens / max(history.counts.prompt_tokens, 1):.0f} %",
        )
        for name, history in histories.items()
    ]
    return Table(("policy", "makespan s", "loads", "tokens cached"), lines)


def _rows(device: str, history: History) -> int:
    """Return how many things a device did at once, at most."""
    return 1 + max((bar.row for bar in history.bars if bar.device == device), default=0)


def _lanes(
    name: str, rows: Mapping[str, int], history: History, span_s: float, models: Mapping[str, int]
) -> str:
    heights = [_LANE if n == 1 else min(max(n * _SLOT, _LANE), _TALLEST) for n in rows.values()]
    tops = [sum(heights[:i]) + _GAP * i for i in range(len(heights))]
    places = dict(zip(rows, zip(tops, heights, strict=True), strict=True))
    height = sum(heights) + _GAP * len(heights)
    labels = "".join(
        f'<text class="label" x="0" y="{top + high / 2 + 4:.1f}">{escape(device)}</text>'
        for device, (top, high) in places.items()
    )
    bars = "".join(
        _bar(bar, places[bar.device], rows[bar.device], span_s, models)
        for bar in _drawn(history, rows)
    )
    end = _across(history.makespan_s, span_s)
    line = f'<line class="one" x1="{end:.2f}%" x2="{end:.2f}%" y1="0" y2="{height}"/>'
    return (
        f"<h3>{escape(name)}: {history.makespan_s:.0f} s, {history.counts.model_loads} loads</h3>"
        f'<div class="lanes"><svg style="width:{_LETTER * max(map(len, rows)) + 8:.0f}px" '
        f'height="{height}">{labels}</svg><svg class="gantt" height="{height + _FOOT}">'
        f"{bars}{line}{_axis(span_s, height)}</svg></div>"
    )


def _drawn(history: History, rows: Mapping[str, int]) -> Sequence[Bar]:
    """Return the bars that are seen; loads come first, so that calls beside them lie above."""
    found = [bar for bar in history.bars if bar.device in rows and bar.end_s > bar.start_s]
    return sorted(found, key=lambda bar: bar.kind == "call")


def _across(at_s: float, span_s: float) -> float:
    return _RIGHT * at_s / span_s


def _axis(span_s: float, height: int) -> str:
    """Return the times below the lanes."""
    return "".join(
        f'<line class="rule" x1="{x:.2f}%" x2="{x:.2f}%" y1="{height}" y2="{height + 4}"/>'
        f'<text class="tick" x="{x:.2f}%" y="{height + 15}">{tick_text(at_s)}</text>'
        for at_s in ticks(0.0, span_s)
        for x in [_across(at_s, span_s)]
    )


def _bar(
    bar: Bar, place: tuple[int, int], rows: int, span_s: float, models: Mapping[str, int]
) -> str:
    top, high = place
    alone = bar.kind != "call"  # a load is the whole device's
    own = high if alone else high / rows
    y = top if alone else top + own * bar.row
    x, end = _across(bar.start_s, span_s), _across(bar.end_s, span_s)
    kind = f"c{models[bar.model]}" if bar.kind == "call" else "load"
    what = f"{bar.kind} {bar.model} {bar.instance}".strip()
    return (
        f'<rect class="{kind}" x="{x:.3f}%" y="{y:.1f}" width="{end - x:.3f}%" '
        f'height="{own:.1f}"><title>{escape(what)}: {bar.start_s:.1f} to {bar.end_s:.1f} s'
        "</title></rect>"
    )
