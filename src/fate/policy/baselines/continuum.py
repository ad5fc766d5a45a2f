"""Continuum: jobs keep their KV through short pauses, and go on before others begin.

"Continuum: Efficient and robust multi-turn LLM agent scheduling with KV cache time-to-live",
arXiv:2511.02230; rules as in a public re-implementation.
"""

from collections.abc import Sequence
from functools import partial

from fate.policy.serving import Binding, Desk, FewestCalls, ServingPolicy

#: Seconds that a job's KV is held after a call: the value used until 100 pauses have been seen.
HOLD_S = 2.0


def held_at(desk: Desk, hold_s: float = HOLD_S) -> list[int]:
    """Return [F] the device that holds the KV a chunk goes on from; -1 once that is given up.

    That is where most of the calls before it ran, if its prompt is cached there and the pause
    since they ended, waiting included, is within the hold.
    """
    ran = desk.snapshot.parents_on.tolist()
    pause_s = (desk.snapshot.gap_s + desk.snapshot.waited_s).tolist()
    devices: list[int] = []
    for node, on in enumerate(ran):
        device = on.index(max(on))
        held = on[device] > 0 and pause_s[node] <= hold_s and desk.cached(node, device) > 0.0
        devices.append(device if held else -1)
    return devices


def _held_then_oldest(desk: Desk, hold_s: float) -> list[int]:
    """Sort: jobs whose KV is held, then by arrival of the job."""
    held, job = held_at(desk, hold_s), desk.snapshot.workflow.tolist()
    return sorted(range(desk.frontier), key=lambda node: (held[node] < 0, job[node], node))


class _WhereHeld(FewestCalls):
    """To the device that holds the chunk's KV, otherwise to the fewest calls."""

    def __init__(self, desk: Desk, cursor: int, hold_s: float) -> None:
        super().__init__(desk, cursor)
        self._held = held_at(desk, hold_s)

    def choose(self, node: int, hosts: Sequence[int]) -> int:
        """Return where the KV is held, if it is."""
        return self._held[node] if self._held[node] in hosts else super().choose(node, hosts)


def continuum(
    binding: Binding = "arrival", name: str = "continuum", hold_s: float = HOLD_S
) -> ServingPolicy:
    """Serve jobs whose KV is still held, then the jobs that arrived first.

    Source: Continuum (arXiv:2511.02230), from a public re-implementation. Rule: calls whose job's
    KV is pinned first, then by arrival of the job; a pin lasts 2 s after a call, the fixed value
    used until 100 pauses have been seen. A pinned call goes to the device that holds its KV,
    others to the fewest calls; on arrival, for good. Deviations: pins do not stop evictions, which
    are least recently used for every policy: a pin whose KV is gone counts for nothing; jobs that
    are graphs are pinned where most parents of the call ran; hold times are not learned from
    pauses; engines are devices that can host the model.
    """
    return ServingPolicy(
        name=name,
        urgency=partial(_held_then_oldest, hold_s=hold_s),
        route=partial(_WhereHeld, hold_s=hold_s),
        binding=binding,
    )


def continuum_late(hold_s: float = HOLD_S) -> ServingPolicy:
    """Serve jobs whose KV is held, then the oldest, devices chosen when calls start.

    Source: as `continuum`. Rule: the same order and choice of device, made again at every
    decision, over all devices, for everything that waits. Deviations: as `continuum`; late binding
    is ours.
    """
    return continuum("late", "continuum-late", hold_s)
