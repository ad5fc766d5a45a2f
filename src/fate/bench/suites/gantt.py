"""One instance under two policies, as lanes of devices over the same axis of time."""

from collections.abc import Mapping
from html import escape

from fate.domain.catalog import Cluster
from fate.view.history import Bar, History

#: Height of a device's lane [px], and its bar's.
_LANE, _BAR = 18, 14


def gantt(cluster: Cluster, histories: Mapping[str, History]) -> str:
    """Return the lanes of each policy's run, one below the other.

    Loads are grey, calls have their model's colour; fetching a parent's output is the start of a
    call.
    """
    span_s = max(history.makespan_s for history in histories.values())
    models = {model.id: i % 8 for i, model in enumerate(cluster.models)}
    parts = [_lanes(name, cluster, history, span_s, models) for name, history in histories.items()]
    legend = "".join(f'<span class="c{i}"><i></i>{escape(m)}</span>' for m, i in models.items())
    legend = f'<p class="legend"><span class="load"><i></i>load</span>{legend}</p>'
    return f'<div class="wide">{"".join(parts)}</div>{legend}'


def _lanes(
    name: str, cluster: Cluster, history: History, span_s: float, models: Mapping[str, int]
) -> str:
    rows = {device.id: i for i, device in enumerate(cluster.devices)}
    height = _LANE * len(rows)
    labels = "".join(
        f'<text class="label" x="0" y="{_LANE * row + 13}">{escape(device)}</text>'
        for device, row in rows.items()
    )
    bars = "".join(
        _bar(bar, rows[bar.device], span_s, models)
        for bar in history.bars
        if bar.device in rows and bar.end_s > bar.start_s
    )
    end = 4.0 + 96.0 * history.makespan_s / span_s
    line = f'<line class="one" x1="{end:.2f}%" x2="{end:.2f}%" y1="0" y2="{height}"/>'
    return (
        f"<h3>{escape(name)}: {history.makespan_s:.0f} s, {history.counts.model_loads} loads</h3>"
        f'<svg class="gantt" height="{height}">{labels}{bars}{line}</svg>'
    )


def _bar(bar: Bar, row: int, span_s: float, models: Mapping[str, int]) -> str:
    x = 4.0 + 96.0 * bar.start_s / span_s
    width = 96.0 * (bar.end_s - bar.start_s) / span_s
    kind = f"c{models[bar.model]}" if bar.kind == "call" else "load"
    what = f"{bar.kind} {bar.model} {bar.instance}".strip()
    return (
        f'<rect class="{kind}" x="{x:.3f}%" y="{_LANE * row + 1}" width="{width:.3f}%" '
        f'height="{_BAR}"><title>{escape(what)}: {bar.start_s:.1f} to {bar.end_s:.1f} s'
        "</title></rect>"
    )
