"""What each device held at any time: models by the bytes they reserve."""

from typing import TypeAlias

import msgspec

from fate.domain.catalog import Cluster
from fate.view.history import Bar, History

#: A model's index, the bytes of its weights and of its KV cache.
Level: TypeAlias = tuple[int, int, int]


class MemorySteps(msgspec.Struct, frozen=True, kw_only=True):
    """A device's memory as steps: from `at_s[i]` on it held `levels[i]`, first come lowest.

    `budget` and `most` are bytes: what it declares, and what it ever held.
    """

    budget: int
    most: int
    at_s: tuple[float, ...]
    levels: tuple[tuple[Level, ...], ...]


def memory_steps(cluster: Cluster, history: History) -> dict[str, MemorySteps]:
    """Return the steps of every managed device on which something was loaded.

    Bytes are reserved from the moment a load begins until an unload ends; a device that goes
    away, or a process that does, loses everything.
    """
    changes: dict[str, list[tuple[float, int, str]]] = {}
    for bar in history.bars:
        if bar.kind in ("load", "unload"):
            changes.setdefault(bar.device, []).extend(_changes(bar))
    for span in history.idle:
        if span.reason == "lost" and span.device in changes:
            changes[span.device].append((span.start_s, -1, ""))
    for found in changes.values():
        found.extend((gap.end_s, -1, "") for gap in history.gaps)
    budgets = {device.id: device.memory_bytes for device in cluster.devices}
    levels = {
        model.id: (number, model.weight_bytes, model.footprint_bytes - model.weight_bytes)
        for number, model in enumerate(cluster.models)
    }
    return {
        device: _steps(budgets[device], sorted(found, key=lambda one: one[0]), levels)
        for device, found in changes.items()
    }


def _changes(bar: Bar) -> list[tuple[float, int, str]]:
    """Return (when, +1 comes, -1 goes, model); an empty model means all of them."""
    if bar.kind == "load":
        came = [(bar.start_s, 1, bar.model)]
        kept = bar.outcome in ("done", "running")
        return came if kept else [*came, (bar.end_s, -1, bar.model)]
    return [(bar.end_s, -1, bar.model)] if bar.outcome == "done" else []


def _steps(
    budget: int, changes: list[tuple[float, int, str]], levels: dict[str, Level]
) -> MemorySteps:
    held: dict[str, Level] = {}
    at_s: list[float] = []
    found: list[tuple[Level, ...]] = []
    for when_s, change, model in changes:
        if change > 0:
            held[model] = levels[model]
        elif model:
            held.pop(model, None)
        else:
            held.clear()
        if at_s and at_s[-1] == when_s:
            found[-1] = tuple(held.values())
        else:
            at_s.append(when_s)
            found.append(tuple(held.values()))
    most = max((sum(weights + cache for _, weights, cache in step) for step in found), default=0)
    return MemorySteps(budget=budget, most=most, at_s=tuple(at_s), levels=tuple(found))
