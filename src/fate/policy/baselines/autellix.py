"""Autellix: programs that have had little service go first.

Luo et al., "Autellix: An efficient serving engine for LLM agents as general programs",
arXiv:2502.13965. Thresholds and levels as in a public re-implementation.
"""

from collections.abc import Sequence
from functools import partial

import numpy as np

from fate.domain.snapshot import Snapshot
from fate.policy.serving import Binding, Desk, FewestCalls, MakeRoute, ServingPolicy

#: Service after which a program's calls enter the next queue, in tokens; three bounds, four queues.
LEVELS = (2048.0, 8192.0, 32768.0)
#: A call that has waited this many times its program's service goes to the first queue.
STARVING = 2.0
#: Longer prompts go back to the device where their program ran last.
LONG_PROMPT = 2048.0


def token_seconds(snapshot: Snapshot) -> float:
    """Return the seconds to generate a token, the mean over devices and models that fit there."""
    rates = snapshot.decode[..., 1][np.isfinite(snapshot.load_s)]
    return float(rates.mean()) if rates.size else 0.0


def _by_level(snapshot: Snapshot, service_s: Sequence[float]) -> list[int]:
    """Sort by queue, then by arrival."""
    bounds_s = [tokens * token_seconds(snapshot) for tokens in LEVELS]
    waited_s = snapshot.waited_s.tolist()

    def level(node: int) -> int:
        if 0.0 < STARVING * service_s[node] <= waited_s[node]:
            return 0
        return sum(service_s[node] >= bound_s for bound_s in bounds_s)

    return sorted(range(snapshot.frontier), key=lambda node: (level(node), node))


def _by_program(desk: Desk) -> list[int]:
    return _by_level(desk.snapshot, desk.snapshot.attained_s.tolist())


def _by_path(desk: Desk) -> list[int]:
    return _by_level(desk.snapshot, desk.snapshot.path_s.tolist())


class _Home(FewestCalls):
    """Long prompts to where their program ran last, others to the fewest calls."""

    def __init__(self, desk: Desk, cursor: int, long_prompt: float) -> None:
        super().__init__(desk, cursor)
        self._long = long_prompt
        self._home = desk.snapshot.home.tolist()
        self._prompt = desk.snapshot.first_tokens.tolist()

    def choose(self, node: int, hosts: Sequence[int]) -> int:
        """Return the home of a long prompt, if there is one."""
        home = self._home[node]
        if self._prompt[node] > self._long and home in hosts:
            return home
        return super().choose(node, hosts)


class _FreeHome(_Home):
    """As `_Home`, but a home without a free slot is as good as none."""

    def __init__(self, desk: Desk, cursor: int, long_prompt: float) -> None:
        super().__init__(desk, cursor, long_prompt)
        self._room = desk.free()

    def choose(self, node: int, hosts: Sequence[int]) -> int:
        """Return the home of a long prompt, if it could start there now."""
        if self._room[self._home[node]] > 0:
            return super().choose(node, hosts)
        return FewestCalls.choose(self, node, hosts)

    def place(self, node: int, device: int) -> None:
        """Count the call."""
        super().place(node, device)
        self._room[device] -= 1


_ROUTES: dict[Binding, type[_Home]] = {"arrival": _Home, "late": _FreeHome}


def _route(binding: Binding, long_prompt: float) -> MakeRoute:
    return partial(_ROUTES[binding], long_prompt=long_prompt)


def plas(
    binding: Binding = "arrival", name: str = "plas", long_prompt: float = LONG_PROMPT
) -> ServingPolicy:
    """Serve first the calls of programs that have had least service so far.

    Source: Autellix (arXiv:2502.13965), program-level attained service; levels, thresholds and the
    starvation rule from a public re-implementation, routing from notes on the paper. Rule: a call
    enters one of four queues by the service its program's finished calls have had (bounds 2048,
    8192, 32768 tokens); lower queues first, arrival within a queue; a call that has waited twice
    its program's service enters the first. Prompts of up to 2048 tokens go to the device with the
    fewest calls, longer ones to where the program ran last; on arrival, for good. Lengths are not
    looked at. Deviations: service is counted in seconds, and the bounds are turned into seconds at
    the cluster's mean rate of generation; running calls are neither demoted nor preempted;
    starvation is judged by the call's own wait; engines are devices that can host the model.
    """
    return ServingPolicy(
        name=name, urgency=_by_program, route=_route(binding, long_prompt), binding=binding
    )


def plas_late(long_prompt: float = LONG_PROMPT) -> ServingPolicy:
    """Serve by attained service of the program, devices chosen when calls start.

    Source: as `plas`. Rule: the same queues and choice of device, made again at every decision,
    over all devices, for everything that waits; long prompts go home if a slot is free there.
    Deviations: as `plas`; late binding, and that nobody waits for a busy home, is ours.
    """
    return plas("late", "plas-late", long_prompt)


def atlas(
    binding: Binding = "arrival", name: str = "atlas", long_prompt: float = LONG_PROMPT
) -> ServingPolicy:
    """Serve first the calls whose longest path so far has had least service.

    Source: Autellix (arXiv:2502.13965), adaptive thread-level attained service for programs that
    are graphs. Rule: as `plas`, with the service of a call's longest observed path in place of
    its program's: the largest sum over its parents of what they inherited and took. Deviations: as
    `plas`.
    """
    return ServingPolicy(
        name=name, urgency=_by_path, route=_route(binding, long_prompt), binding=binding
    )


def atlas_late(long_prompt: float = LONG_PROMPT) -> ServingPolicy:
    """Serve by attained service of the longest path, devices chosen when calls start.

    Source: as `atlas`. Rule: the same queues and choice of device, made again at every decision,
    over all devices, for everything that waits; long prompts go home if a slot is free there.
    Deviations: as `plas`; late binding, and that nobody waits for a busy home, is ours.
    """
    return atlas("late", "atlas-late", long_prompt)
