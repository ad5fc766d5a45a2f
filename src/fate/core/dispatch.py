"""Starts work: what a plan may start, and what starts without one."""

from dataclasses import dataclass, field

from fate.core.fleet import Fleet
from fate.core.lifecycle import Lifecycle
from fate.core.pool import ReadyChunk
from fate.core.prefetch import Prefetcher
from fate.core.snapshot import link_table
from fate.domain.plan import Plan

#: What overdue chunks force takes at most this share of a device's time; otherwise a backlog older
#: than its bound would run in order of arrival, with a load for every chunk.
_FORCED_SHARE = 0.1


@dataclass(slots=True)
class Dispatcher:
    """Moves chunks from the ready pool onto devices, and tools onto the host.

    `held` devices start nothing but the overdue chunk that waits for their memory;
    `forced_until_s` is when each device may be forced again.
    """

    lifecycle: Lifecycle
    fleet: Fleet
    prefetcher: Prefetcher
    held: set[int] = field(default_factory=set[int])
    forced_until_s: dict[int, float] = field(default_factory=dict[int, float])
    _link: list[list[list[float]]] = field(init=False)

    def __post_init__(self) -> None:
        """Know what links cost."""
        self._link = link_table(self.fleet.cluster).tolist()

    def free_devices(self) -> list[int]:
        """Return the devices with a free compute slot."""
        return [d for d in range(len(self.fleet.devices)) if self.fleet.free_slots(d) > 0]

    def start_tools(self, now_s: float) -> None:
        """Start waiting tools while the host has slots."""
        tools = self.lifecycle.tools
        while tools and self.fleet.tool_slots() > 0:
            chunk = tools.pop(0)
            stage = self.lifecycle.instances[chunk.instance].stage
            self.fleet.start_tool(chunk, stage.tool_s * (chunk.stop - chunk.start), now_s)

    def start_heads(self, plan: Plan, now_s: float) -> None:
        """Start the heads of the lists while slots are free; the rest was advice."""
        for d, order in enumerate(plan.orders[: len(self.fleet.devices)]):
            free = 0 if d in self.held else self.fleet.free_slots(d)
            for chunk in order:
                if free <= 0:
                    break
                ready = self.lifecycle.pool.get(chunk)
                if ready is None:
                    continue
                if not self._start(ready, d, now_s):
                    break
                free -= 1
        devices, models = len(self.fleet.devices), len(self.fleet.cluster.models)
        for wish in plan.prefetch if self.lifecycle.open_workflows else ():
            if 0 <= wish.device < devices and 0 <= wish.model < models:
                self.prefetcher.grant(wish.device, wish.model, now_s)

    def _start(self, ready: ReadyChunk, d: int, now_s: float) -> bool:
        if not self._may_run(ready, d):
            return False
        if not self.fleet.start(ready, d, now_s, self._gather_s(ready, d)):
            return False
        self.lifecycle.pool.take(ready.chunk)
        return True

    def _gather_s(self, ready: ReadyChunk, d: int) -> float:
        """Return the seconds to gather the outputs of parents that lie on other devices."""
        if not self.fleet.cluster.links:
            return 0.0
        seconds, instance = 0.0, self.lifecycle.instances[ready.chunk.instance]
        for source, size in self.lifecycle.gathered(instance):
            fixed_s, byte_s = self._link[source][d]
            seconds += fixed_s + byte_s * size
        return seconds

    def _may_run(self, ready: ReadyChunk, d: int) -> bool:
        cluster, model = self.fleet.cluster, self.fleet.cluster.models[ready.work.model]
        return self.fleet.devices[d].usable and cluster.supports(cluster.devices[d], model)

    def start_overdue(self, now_s: float) -> None:
        """The bound on waiting: an overdue chunk takes the first free device that can run it.

        Where memory in use forbids that, the device starts nothing else until it can. A device
        that was forced goes by the plan for a while before it is forced again.
        """
        self.held.clear()
        if not self.lifecycle.pool.any_overdue(now_s) or not self._forcible(now_s):
            return
        for ready in self.lifecycle.pool.overdue(now_s):
            model = self.fleet.cluster.models[ready.work.model].id
            free = [d for d in self._forcible(now_s) if d not in self.held]
            if not free:
                return
            free.sort(key=lambda d: (d in ready.avoid, model not in self.fleet.devices[d].models))
            if not any(self._force(ready, d, now_s) for d in free):
                self.held.update([d for d in free if self._may_run(ready, d)][:1])

    def next_forced_s(self, now_s: float) -> float:
        """Return when the next free device may be forced again; inf if all may be, or are busy."""
        closed = [self.forced_until_s.get(d, now_s) for d in self.free_devices()]
        return min([until_s for until_s in closed if until_s > now_s], default=float("inf"))

    def _forcible(self, now_s: float) -> list[int]:
        return [d for d in self.free_devices() if self.forced_until_s.get(d, now_s) <= now_s]

    def _force(self, ready: ReadyChunk, d: int, now_s: float) -> bool:
        if not self._start(ready, d, now_s):
            return False
        takes_s = sum(step.expected_s for step in self.fleet.chains[-1].steps)
        self.forced_until_s[d] = now_s + takes_s / _FORCED_SHARE
        return True

    def keep_going(self, now_s: float) -> None:
        """The proof of progress: with work ready and nothing running, something starts."""
        if self.fleet.chains or not len(self.lifecycle.pool):
            return
        for ready in self.lifecycle.pool.frontier(len(self.lifecycle.pool), now_s):
            devices = sorted(self.free_devices(), key=lambda d: d in ready.avoid)
            if any(self._start(ready, d, now_s) for d in devices):
                return
