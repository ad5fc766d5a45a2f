"""KVFlow: what will be needed soon stays cached; here, as far as placement can tell.

Pan et al., "KVFlow: Efficient prefix caching for accelerating LLM-based multi-agent workflows",
arXiv:2507.07400; aggregation of steps and constants as in its code.
"""

from collections.abc import Sequence

import numpy as np

from fate.domain.snapshot import Snapshot
from fate.policy.serving import Binding, Desk, FewestCalls, ServingPolicy
from fate.policy.visible import visible

#: Steps to the next use of what no visible stage uses.
UNKNOWN = 1000


def steps_to_use(snapshot: Snapshot) -> list[int]:
    """Return for each path node the steps until a visible stage needs it: the fewest of any."""
    steps = np.full(len(snapshot.path_tokens), UNKNOWN, np.int64)
    rows, columns = np.nonzero(snapshot.prompt >= 0)
    above = np.array(visible(snapshot).above(), np.int64)
    np.minimum.at(steps, snapshot.prompt[rows, columns], above[rows])
    return steps.tolist()


def _by_arrival(desk: Desk) -> list[int]:
    return list(range(desk.frontier))


class _KeepWhatIsNear(FewestCalls):
    """Fewest calls; then the most tokens cached; then what is overwritten is needed last."""

    def __init__(self, desk: Desk, cursor: int) -> None:
        super().__init__(desk, cursor)
        self._desk, self._steps = desk, steps_to_use(desk.snapshot)
        self._prompt = desk.snapshot.first_tokens.tolist()
        self._model = desk.snapshot.model.tolist()
        self._known: dict[int, tuple[float, int]] = {}

    def choose(self, node: int, hosts: Sequence[int]) -> int:
        """Return the host by the three rules, the lowest index among equals."""
        least = min(self.calls[device] for device in hosts)
        equal = [device for device in hosts if self.calls[device] == least]
        if len(equal) == 1:
            return equal[0]
        cached = self._desk.cached
        return min(equal, key=lambda d: (-cached(node, d), -self._overwritten(node, d), d))

    def _overwritten(self, node: int, device: int) -> int:
        """Return the steps to the next use of what goes first on a device; many if nothing does."""
        if self._desk.snapshot.cache_tokens[device]:
            new = self._prompt[node] - self._desk.cached(node, device)
            free, steps = self._blocks(device)
            return UNKNOWN if new <= free else steps
        if self._desk.cached(node, device) > 0.0:
            return UNKNOWN
        return self._oldest_sequence(self._model[node], device)

    def _blocks(self, device: int) -> tuple[float, int]:
        """Return (tokens free, steps to the use of what goes first) of a cache of blocks."""
        found = self._known.get(device)
        if found is None:
            s = self._desk.snapshot
            held = np.flatnonzero(s.cached_at[device] >= 0)
            free = float(s.cache_tokens[device] - s.path_tokens[held, 0].sum())
            clocks, steps = s.cached_at[device, held], UNKNOWN
            if held.size:
                steps = self._steps[int(held[clocks == clocks.min()][-1])]
            found = self._known[device] = (free, steps)
        return found

    def _oldest_sequence(self, model: int, device: int) -> int:
        s = self._desk.snapshot
        contents = s.content[device, model].tolist()
        used_at = s.content_used_at[device, model].tolist()
        slots = [k for k, content in enumerate(contents) if content != -2]
        oldest = contents[min(slots, key=lambda k: (used_at[k], k))] if slots else -1
        first = int(s.held[oldest, 0]) if oldest >= 0 and s.held.size else -1
        return self._steps[first] if first >= 0 else UNKNOWN


def kvflow(binding: Binding = "arrival", name: str = "kvflow") -> ServingPolicy:
    """Give calls to the shortest queue, by what is cached there and what would be overwritten.

    Source: KVFlow (arXiv:2507.07400); steps to execution and their aggregation from its code,
    queue-length routing from its evaluation by Helium (arXiv:2603.16104). Rule: arrival order; the
    device with the fewest calls; among equals the one that holds most of the prompt; then the one
    where what the call overwrites is needed last, in steps of the graph: 0 for ready stages, one
    more than the latest parent for others, the soonest user for a shared prefix, 1000 without any.
    On arrival, for good. Deviations: the system is a cache policy; caches evict least recently
    used for every policy, so that only the choice of device can spare what is needed soon; nothing
    is loaded back ahead of time; one step counts as long as another; engines are devices that can
    host the model.
    """
    return ServingPolicy(
        name=name, urgency=_by_arrival, route=_KeepWhatIsNear, binding=binding, lookahead="all"
    )


def kvflow_late() -> ServingPolicy:
    """Give calls to the shortest queue, sparing what is needed soon, when they start.

    Source: as `kvflow`. Rule: the same order and choice of device, made again at every decision,
    over all devices, for everything that waits. Deviations: as `kvflow`; late binding is ours.
    """
    return kvflow("late", "kvflow-late")
