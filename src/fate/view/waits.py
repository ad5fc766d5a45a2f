"""Why a chunk that was ready did not start: the plans that held it back, in short."""

from collections.abc import Iterable
from itertools import groupby

import msgspec

from fate.domain.graph import Chunk
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
