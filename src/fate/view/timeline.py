"""The timeline of a run as one self-contained HTML file.

Markup, style and script are package data beside this module; the run's history goes in as JSON.
The page asks nothing of any network, and its content policy forbids it to.
"""

from importlib.resources import files
from pathlib import Path
from typing import Any

import msgspec

from fate.domain.errors import FateError
from fate.view.history import HOST, IDLE_LABELS, Bar, History, PlanSpan, RunFacts
from fate.view.metrics import Summary


class TimelineError(FateError):
    """The timeline cannot be written."""

    code = "timeline"


def write_timeline(path: Path, facts: RunFacts, history: History, summary: Summary) -> None:
    """Write the page to a file."""
    try:
        path.write_text(timeline(facts, history, summary), encoding="utf-8")
    except OSError as error:
        raise TimelineError(f"{path}: cannot write the timeline: {error.strerror}") from None


def timeline(facts: RunFacts, history: History, summary: Summary) -> str:
    """Return the page."""
    page = _asset("timeline.html")
    for place, name in (
        ("/*{{style}}*/", "timeline.css"),
        ("/*{{draw}}*/", "timeline_draw.js"),
        ("/*{{chart}}*/", "timeline_chart.js"),
        ("/*{{page}}*/", "timeline_page.js"),
    ):
        page = page.replace(place, _asset(name))
    return page.replace("{{data}}", _json(payload(facts, history, summary)))


def payload(facts: RunFacts, history: History, summary: Summary) -> dict[str, Any]:
    """Return what the page shows. Times are seconds since the run's start, to the microsecond."""
    used = {bar.device for bar in history.bars}
    lanes = [device.id for device in facts.cluster.devices] + [HOST] * (HOST in used)
    models = [model.id for model in facts.cluster.models]
    ids = {model: number for number, model in enumerate(models)}
    numbers = {lane: number for number, lane in enumerate(lanes)}
    start_s = history.start_s
    return {
        "run": {
            "id": facts.run,
            "workflow": facts.workflow,
            "workflows": len(history.workflows),
            "reasons": [w.reason for w in history.workflows if w.reason][:3],
        },
        "summary": msgspec.to_builtins(
            msgspec.structs.replace(summary, outputs={}, engines=(), journal=None, timeline=None)
        ),
        "span": _time(history.makespan_s),
        "lanes": _lanes(facts, history, lanes),
        "models": models,
        "bars": [_bar(bar, numbers, ids, start_s) for bar in history.bars],
        "idle": [
            (
                numbers[span.device],
                _time(span.start_s - start_s),
                _time(span.end_s - start_s),
                span.slots,
                IDLE_LABELS[span.reason],
            )
            for span in history.idle
        ],
        "plans": [_plan(plan, start_s) for plan in history.plans],
    }


def _lanes(facts: RunFacts, history: History, lanes: list[str]) -> list[dict[str, Any]]:
    engines = {device.id: (device.engine, device.slots) for device in facts.cluster.devices}
    engines[HOST] = ("tools", facts.cluster.tool_slots)
    rows = dict.fromkeys(lanes, 1)
    for bar in history.bars:
        rows[bar.device] = max(rows[bar.device], bar.row + 1)
    return [
        {"id": lane, "engine": engines[lane][0], "slots": engines[lane][1], "rows": rows[lane]}
        for lane in lanes
    ]


def _bar(bar: Bar, lanes: dict[str, int], models: dict[str, int], start_s: float) -> list[Any]:
    """Return a bar as a list, in the order of `BAR` in the chart's script."""
    return [
        lanes[bar.device],
        bar.row,
        bar.kind,
        models.get(bar.model, -1),
        bar.instance,
        bar.start,
        bar.stop,
        _time(bar.start_s - start_s),
        _time(bar.end_s - start_s),
        bar.outcome,
        bar.reason,
        bar.attempt,
        [(part.kind, _time(part.start_s - start_s), _time(part.end_s - start_s))
         for part in bar.parts],
        bar.prompt_tokens,
        bar.cached_tokens,
        bar.output_tokens,
        bar.plan,
    ]  # fmt: skip


def _plan(plan: PlanSpan, start_s: float) -> dict[str, Any]:
    return {
        "at": _time(plan.at_s - start_s),
        "version": plan.version,
        "policy": plan.policy,
        "heads": plan.heads,
        "waited": _time(plan.waited_s),
        "failed": plan.failed,
        "search": msgspec.to_builtins(plan.search),
    }


def _time(seconds: float) -> float:
    return round(seconds, 6)


def _json(data: dict[str, Any]) -> str:
    """Return JSON that cannot end the script element it stands in, nor open another one."""
    text = msgspec.json.encode(data).decode()
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _asset(name: str) -> str:
    return files("fate.view").joinpath(name).read_text(encoding="utf-8")
