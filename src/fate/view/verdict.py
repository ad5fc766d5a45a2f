"""The two lines at the end of a run: what took the time, and what would have saved some of it."""

from collections.abc import Sequence
from typing import Literal, TypeAlias

from fate.view.critical import critical_path
from fate.view.fold import Fold
from fate.view.history import HOST, IDLE_LABELS, Bar

#: What the critical path consists of.
Piece: TypeAlias = Literal["loads", "prefill", "decode", "tools", "moves", "waiting"]
_PIECES: dict[str, Piece] = {"load": "loads", "unload": "loads", "tool": "tools", "move": "moves"}
#: A saving below this share of the makespan is called none.
_NOTEWORTHY = 0.01


def path_seconds(path: Sequence[Bar], start_s: float) -> dict[Piece, float]:
    """Return the seconds of a path by what they went into; gaps count as waiting."""
    found: dict[Piece, float] = dict.fromkeys(
        ("loads", "prefill", "decode", "tools", "moves", "waiting"), 0.0
    )
    until_s = start_s
    for bar in path:
        found["waiting"] += max(bar.start_s - until_s, 0.0)
        until_s = bar.end_s
        if bar.kind in ("call", "warm"):
            for part in bar.parts:
                found[part.kind] += part.end_s - part.start_s
        else:
            found[_PIECES[bar.kind]] += bar.end_s - bar.start_s
    return found


def dominated(fold: Fold) -> str:
    """Return the first line: what the critical path was made of, and why devices were idle."""
    history = fold.history()
    total_s = history.makespan_s
    if total_s <= 0 or not history.bars:
        return "verdict: nothing ran"
    path = [history.bars[number] for number in critical_path(history)]
    seconds = path_seconds(path, history.start_s)
    ranked = sorted(seconds.items(), key=lambda piece: -piece[1])
    parts = [f"{name} {value / total_s:.0%}" for name, value in ranked if value >= 0.02 * total_s]
    text = f"verdict: {ranked[0][0]} dominated the path to the end ({', '.join(parts)})"
    idle = dict.fromkeys(IDLE_LABELS, 0.0)
    for span in history.idle:
        idle[span.reason] += span.slots * (span.end_s - span.start_s)
    reason, idle_s = max(idle.items(), key=lambda pair: pair[1])
    slots_s = total_s * sum(lane.slots for name, lane in fold.lanes.items() if name != HOST)
    if idle_s > 0.02 * slots_s:
        all_s = sum(idle.values())
        text += f"; devices idle {all_s / slots_s:.0%}, mostly {IDLE_LABELS[reason]}"
    return text


def saved(own_s: float, others: Sequence[tuple[str, float]]) -> str:
    """Return the second line: makespans simulated with more, against the simulation as it was."""
    parts: list[str] = []
    for what, makespan_s in others:
        saving_s = own_s - makespan_s
        if saving_s < _NOTEWORTHY * own_s:
            parts.append(f"{what} nothing")
        else:
            parts.append(f"{what} {saving_s:.1f} s ({saving_s / own_s:.0%})")
    return f"simulated: of {own_s:.1f} s, {'; '.join(parts)}"
