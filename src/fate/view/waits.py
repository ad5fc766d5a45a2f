"""Why a chunk that was ready did not start: the plans that held it back, in short."""

from collections.abc import Iterable
from itertools import groupby

import msgspec

from fate.domain.graph import Chunk
from fate.domain.messages import DeviceLost, Drained, Readmitted, Record
from fate.domain.plan import Plan


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """A plan that had a chunk in view and did not start it.

    `device` is where the plan put it, None for nowhere; `position` its place there, from 1;
    `ahead` what came right before it, "" where it was the first.
    """

    at_s: float
    version: int
    device: str | None
    position: int = 0
    ahead: str = ""


class Aside(msgspec.Struct, frozen=True, kw_only=True):
    """A spell in which a device got no work though it was there, and why."""

    device: str
    start_s: float
    end_s: float
    why: Drained


def put_aside(why: Drained) -> str:
    """Return why a device gets no work, in words: the fault, until when, what was said."""
    fault, _, reason = why.reason.partition(": ")
    if why.rests:
        return f"at rest until {why.until_s:.1f} s, as its server asks: {reason}"
    what = {"slow": "is too slow", "failing": "fails"}.get(fault)
    return f"drained until {why.until_s:.1f} s: " + (f"it {what}: {reason}" if what else why.reason)


def spells(records: Iterable[Record]) -> tuple[Aside, ...]:
    """Return the spells in which devices were put aside; each ends when they may be tried."""
    found: list[Aside] = []
    since: dict[str, tuple[float, Drained]] = {}

    def end(device: str, now_s: float) -> None:
        start_s, why = since.pop(device, (0.0, None))
        if why is not None:
            end_s = min(now_s, why.until_s)
            found.append(Aside(device=device, start_s=start_s, end_s=end_s, why=why))

    now_s = 0.0
    for record in records:
        now_s = record.at_s
        for event in record.events:
            if isinstance(event, DeviceLost):
                end(event.device, now_s)
        for command in record.commands:
            if isinstance(command, Drained | Readmitted):
                end(command.device, now_s)
            if isinstance(command, Drained):
                since[command.device] = now_s, command
    for device in list(since):
        end(device, now_s)
    return tuple(sorted(found, key=lambda spell: spell.start_s))


def aside_lines(asides: Iterable[Aside]) -> list[str]:
    """Return a line for each spell."""
    return [
        f"{spell.start_s:.2f} to {spell.end_s:.2f} s: {spell.device} was {put_aside(spell.why)}"
        for spell in asides
    ]


def held(plan: Plan, devices: tuple[str, ...], chunk: Chunk, at_s: float, version: int) -> Held:
    """Return how a plan, decided at `at_s`, held a chunk back."""
    for device, order in zip(devices, plan.orders, strict=True):
        if chunk in order:
            position = order.index(chunk)
            ahead = _short(order[position - 1]) if position else ""
            return Held(
                at_s=at_s, version=version, device=device, position=position + 1, ahead=ahead
            )
    return Held(at_s=at_s, version=version, device=None)


def wait_lines(steps: Iterable[Held]) -> list[str]:
    """Return a line for each stretch of plans that held a chunk back in the same way."""
    lines: list[str] = []
    for _, group in groupby(steps, key=lambda step: (step.device, step.position == 1)):
        found = list(group)
        lines.append(f"{_when(found)}: {_how(found)}")
    return lines


def _when(steps: list[Held]) -> str:
    first, last = steps[0], steps[-1]
    if first is last:
        return f"plan {first.version} at {first.at_s:.2f} s"
    return f"plans {first.version} to {last.version}, {first.at_s:.2f} to {last.at_s:.2f} s"


def _how(steps: list[Held]) -> str:
    first, last = steps[0], steps[-1]
    if last.device is None:
        return "in no device's list, left for a later plan"
    if last.position == 1:
        return f"next on {last.device}, which was busy"
    ahead = f"behind {last.ahead}" if last.ahead == first.ahead else "behind others"
    if first.position == last.position:
        return f"number {last.position} on {last.device}, {ahead}"
    return f"number {first.position}, then {last.position} on {last.device}, {ahead}"


def _short(chunk: Chunk) -> str:
    return str(chunk).partition("/")[2]
