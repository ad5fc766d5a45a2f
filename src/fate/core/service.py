"""What work has been given so far: seconds of service and places, as policies see them.

The calls before an instance are its closest ancestors that are calls, seen through tools and
groups. What they took and where they ran is summed up once, when the instance is asked for.
"""

from collections.abc import Iterable, Sequence
from math import inf

import numpy as np

from fate.core.instances import Before, Instance
from fate.core.pool import ReadyChunk
from fate.domain.messages import ItemDone
from fate.domain.snapshot import F64, I32


def serve(instance: Instance, event: ItemDone, device: int, now_s: float) -> None:
    """Take note of a finished item of a call."""
    seconds, workflow = event.prefill_s + event.decode_s, instance.workflow
    instance.longest_s = max(instance.longest_s, seconds)
    instance.ended_s = now_s
    instance.ran_on[device] = instance.ran_on.get(device, 0) + 1
    workflow.attained_s += seconds
    workflow.home = device


def look_back(instance: Instance) -> Before:
    """Return what the calls before an instance took, and where they ran."""
    if instance.parents or instance.scope is None:
        return _together([_left_by(parent) for parent in instance.parents])
    group, index = instance.scope.group, instance.scope.index
    last = group.group.scopes.get(index - 1) if group.group and group.stage.loop else None
    if last is not None:
        return _together([_left_by(member) for member in last.members if not member.children])
    return group.before or Before()


def _left_by(parent: Instance) -> Before:
    """Return what a parent passes on: itself if it is a call, otherwise what it stands for."""
    before = parent.before or Before()
    if parent.stage.kind == "llm":
        ran_on = tuple(parent.ran_on.items())
        return Before(before.path_s + parent.longest_s, parent.ended_s, ran_on)
    if parent.group is None:
        return before
    scopes = list(parent.group.scopes.values())
    ends = [
        member
        for scope in (scopes[-1:] if parent.stage.loop else scopes)
        for member in scope.members
        if not member.children
    ]
    return _together([_left_by(member) for member in ends]) if ends else before


def _together(parts: Iterable[Before]) -> Before:
    path_s, end_s, ran_on = 0.0, -inf, dict[int, int]()
    for part in parts:
        path_s, end_s = max(path_s, part.path_s), max(end_s, part.end_s)
        for device, items in part.ran_on:
            ran_on[device] = ran_on.get(device, 0) + items
    return Before(path_s, end_s, tuple(ran_on.items()))


def columns(
    frontier: Sequence[ReadyChunk], owners: Sequence[Instance], now_s: float, devices: int
) -> dict[str, F64 | I32]:
    """Return the columns of a snapshot that tell what frontier chunks and their workflows got."""
    befores = [owner.before or Before() for owner in owners]
    parents_on = np.zeros((len(frontier), devices), np.int32)
    for row, before in enumerate(befores):
        for device, items in before.ran_on:
            parents_on[row, device] = items
    table = np.array(
        [
            [owner.workflow.attained_s for owner in owners],
            [before.path_s for before in befores],
            [now_s - owner.workflow.arrived_s for owner in owners],
            [
                max(ready.since_s - before.end_s, 0.0) if before.end_s > -inf else 0.0
                for ready, before in zip(frontier, befores, strict=True)
            ],
        ],
        np.float64,
    ).reshape(4, len(frontier))
    return {
        "attained_s": table[0],
        "path_s": table[1],
        "age_s": table[2],
        "gap_s": table[3],
        "home": np.array([owner.workflow.home for owner in owners], np.int32),
        "parents_on": parents_on,
    }
