"""A run as the timeline's script reads it: columns of numbers, and one table of texts.

Times are whole microseconds since the run's start in columns, seconds elsewhere.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, get_args

import msgspec

from fate.view.bars import LINK, LOADER, SLOT, TRACKS
from fate.view.critical import critical_path
from fate.view.history import (
    HOST,
    IDLE_LABELS,
    ActivityKind,
    Bar,
    History,
    Outcome,
    PartKind,
    PlanSpan,
    RunFacts,
)
from fate.view.memory import memory_steps
from fate.view.metrics import Summary
from fate.view.trail import Expected, Trail

KINDS: tuple[ActivityKind, ...] = get_args(ActivityKind)
PARTS: tuple[PartKind, ...] = get_args(PartKind)
#: Those that are nobody's failure come first: the script draws what follows them as bad.
OUTCOMES: tuple[Outcome, ...] = (
    "done",
    "running",
    "interrupted",
    "failed",
    "cancelled",
    "lost",
)
REASONS = tuple(IDLE_LABELS)


@dataclass(slots=True)
class Texts:
    """Numbers for texts, handed out as they come."""

    numbers: dict[str, int] = field(default_factory=lambda: {"": 0})

    def of(self, text: str) -> int:
        """Return a text's number."""
        return self.numbers.setdefault(text, len(self.numbers))


class Sheet(msgspec.Struct, frozen=True, kw_only=True):
    """A run with everything its page shows."""

    facts: RunFacts
    history: History
    summary: Summary
    trail: Trail = Trail()


def run_columns(sheet: Sheet, models: Sequence[str], texts: Texts) -> dict[str, Any]:
    """Return one run; `models` are those of all runs of the page."""
    facts, history, trail = sheet.facts, sheet.history, sheet.trail
    devices = _devices(facts, history)
    places = {name: number for number, (name, _, _) in enumerate(devices)}
    rows = _rows(facts, history, places)
    number = {row: n for n, row in enumerate(rows)}
    start_s, tables = history.start_s, sorted(trail.tables)
    return {
        **_facts(facts, history, sheet.summary),
        "origin": start_s,
        "devices": [{"id": name, "engine": engine, "slots": n} for name, engine, n in devices],
        "planned": len(facts.cluster.devices),
        "rows": rows,
        "bars": {
            **_bar_columns(history, models, texts),
            "row": [
                number[places[bar.device], TRACKS[bar.kind], bar.row] for bar in history.bars
            ],
        },
        "parts": _parts(history),
        "idle": [
            (places[span.device], _micro(span.start_s - start_s), _micro(span.end_s - start_s),
             span.slots, REASONS.index(span.reason))
            for span in history.idle
        ],
        "plans": [_plan(plan, start_s) for plan in history.plans],
        "memory": _memory(facts, history, models, places),
        "critical": critical_path(history),
        "gaps": [(_time(gap.start_s - start_s), _time(gap.end_s - start_s))
                 for gap in history.gaps],
        "ghosts": [_ghost(trail, bar, places, start_s) for bar in sorted(trail.expected)],
        "tables": tables,
        "notice": trail.note,
        "note": trail.note or "The decision behind this call could not be recomputed.",
    }  # fmt: skip


def _facts(facts: RunFacts, history: History, summary: Summary) -> dict[str, Any]:
    figures = msgspec.structs.replace(summary, outputs={}, engines=(), journal=None, timeline=None)
    return {
        "id": facts.run,
        "title": facts.workflow or facts.run,
        "workflows": len(history.workflows),
        "failures": [w.reason for w in history.workflows if w.reason][:3],
        "policy": facts.policy,
        "seed": facts.seed,
        "simulated": facts.simulated,
        "status": summary.status,
        "span": _time(history.makespan_s),
        "summary": msgspec.to_builtins(figures),
    }


def _devices(facts: RunFacts, history: History) -> list[tuple[str, str, int]]:
    """Return (name, what runs there, slots) of every device, and of the host if tools ran."""
    found = [(device.id, device.engine, device.slots) for device in facts.cluster.devices]
    if any(bar.device == HOST for bar in history.bars):
        found.append((HOST, "tools", facts.cluster.tool_slots))
    return found


def _rows(facts: RunFacts, history: History, places: dict[str, int]) -> list[tuple[int, int, int]]:
    """Return (device, track, number) of every row: slots, then loads, then moves."""
    taken = {(places[bar.device], TRACKS[bar.kind], bar.row) for bar in history.bars}
    for number, device in enumerate(facts.cluster.devices):
        taken.update((number, SLOT, row) for row in range(device.slots))
    if any(track == LOADER for _, track, _ in taken):
        taken.update((n, LOADER, 0) for n, d in enumerate(facts.cluster.devices) if d.managed)
    if any(track == LINK for _, track, _ in taken):
        taken.update((n, LINK, 0) for n in range(len(facts.cluster.devices)))
    return sorted(taken)


def _bar_columns(history: History, models: Sequence[str], texts: Texts) -> dict[str, list[int]]:
    numbers = {model: n for n, model in enumerate(models)}
    start_s = history.start_s
    columns: dict[str, Callable[[Bar], int]] = {
        "kinds": lambda bar: KINDS.index(bar.kind),
        "model": lambda bar: numbers.get(bar.model, -1),
        "name": lambda bar: texts.of(bar.instance),
        "flow": lambda bar: texts.of(bar.workflow) if bar.workflow else -1,
        "from": lambda bar: bar.start,
        "to": lambda bar: bar.stop,
        "start": lambda bar: _micro(bar.start_s - start_s),
        "length": lambda bar: _micro(bar.end_s - start_s) - _micro(bar.start_s - start_s),
        "outcome": lambda bar: OUTCOMES.index(bar.outcome),
        "reason": lambda bar: texts.of(bar.reason),
        "attempt": lambda bar: bar.attempt,
        "prompt": lambda bar: bar.prompt_tokens,
        "cached": lambda bar: bar.cached_tokens,
        "output": lambda bar: bar.output_tokens,
        "plan": lambda bar: bar.plan,
        "carried": lambda bar: bar.carried,
        "source": lambda bar: texts.of(bar.source),
    }
    return {name: [of(bar) for bar in history.bars] for name, of in columns.items()} | {
        "part": _offsets(len(bar.parts) for bar in history.bars)
    }


def _offsets(lengths: Iterable[int]) -> list[int]:
    """Return where each of several lists begins in their concatenation, and its length."""
    found = [0]
    for length in lengths:
        found.append(found[-1] + length)
    return found


def _parts(history: History) -> dict[str, list[int]]:
    """Return the stretches of all calls; each begins where the one before it in its bar ends."""
    parts = [part for bar in history.bars for part in bar.parts]
    return {
        "kind": [PARTS.index(part.kind) for part in parts],
        "end": [_micro(part.end_s - history.start_s) for part in parts],
    }


def _memory(
    facts: RunFacts, history: History, models: Sequence[str], places: dict[str, int]
) -> list[dict[str, Any] | None]:
    found: list[dict[str, Any] | None] = [None] * len(places)
    own = [models.index(model.id) for model in facts.cluster.models]
    for device, steps in memory_steps(facts.cluster, history).items():
        found[places[device]] = {
            "budget": steps.budget,
            "most": steps.most,
            "at": [_time(at_s - history.start_s) for at_s in steps.at_s],
            "levels": [
                [(own[model], weights, cache) for model, weights, cache in level]
                for level in steps.levels
            ],
        }
    return found


def _ghost(trail: Trail, bar: int, places: dict[str, int], start_s: float) -> list[Any]:
    """Return a bar, when its plan expected it; and what the first plan said, if another did."""
    expected, first = trail.expected[bar], trail.first.get(bar)
    ghost: list[Any] = [bar, *_times(expected, start_s)]
    return ghost + ([first.version, places[first.device], *_times(first, start_s)] if first else [])


def _times(expected: Expected, start_s: float) -> tuple[float, float]:
    return _time(expected.start_s - start_s), _time(expected.end_s - start_s)


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


def _micro(seconds: float) -> int:
    return round(1e6 * seconds)
