"""List scheduling of a whole task graph onto lines of time, by a rule's preference."""

from heapq import heapify, heappop, heappush
from math import inf

from fate.policy.dag import Dag, Preference, parents_of, transfer_seconds
from fate.policy.kernel.reference import Orders
from fate.policy.lines import Lines, Offer


class Board:
    """Where each task stands so far: `device` (-1: nowhere), `start_s`, `finish_s`, all [N]."""

    def __init__(
        self,
        dag: Dag,
        lines: Lines,
        released_s: list[float],
        gather_s: list[list[float]] | None = None,
    ) -> None:
        """Start with nothing placed.

        Args:
            dag: the graph.
            lines: the devices' lines, with what runs now on them.
            released_s: [N] when the parents of a task that are not in the graph are done.
            gather_s: [N][D] seconds a task holds its slot to gather their outputs, to which those
                of parents in the graph are added; None where data moves beside the work and
                only delays the start, as the papers have it.
        """
        self.dag, self._lines, self._parents = dag, lines, parents_of(dag)
        self._released_s, self._gather_s = released_s, gather_s
        count = len(dag.work_s)
        self.device, self.start_s = [-1] * count, [0.0] * count
        self.finish_s = list(released_s)

    def _inputs(self, task: int, device: int) -> tuple[float, float]:
        """Return (ready, gather) of a task on a device, its parents being placed."""
        ready_s, moves_s = self._released_s[task], 0.0
        for parent, units, after_s in self._parents[task]:
            source, done_s = self.device[parent], self.finish_s[parent] + after_s
            move_s = transfer_seconds(self.dag, units, source, device) if source >= 0 else 0.0
            if self._gather_s is None:
                done_s += move_s
            else:
                moves_s += move_s
            ready_s = max(ready_s, done_s)
        return ready_s, moves_s + (self._gather_s[task][device] if self._gather_s else 0.0)

    def _put(self, task: int, device: int, offer: Offer) -> None:
        self._lines.take(task, device, offer)
        self.device[task] = device
        self.start_s[task], self.finish_s[task] = offer.start_s, offer.finish_s

    def place(self, task: int, bias: list[float] | None) -> None:
        """Put a task where finish plus bias is lowest, the lower device index among equals."""
        best_s, best, chosen = inf, -1, None
        for device in range(self.dag.devices):
            bias_s = bias[device] if bias else 0.0
            if not bias_s < inf:
                continue
            offer = self._lines.offer(task, device, *self._inputs(task, device))
            if offer is not None and offer.finish_s + bias_s < best_s:
                best_s, best, chosen = offer.finish_s + bias_s, device, offer
        if chosen is not None:
            self._put(task, best, chosen)

    def fill(self, preference: Preference, todo: set[int]) -> None:
        """Place the tasks of `todo`: of those whose parents are placed the one that comes first."""
        waits = [sum(edge.task in todo for edge in edges) for edges in self._parents]
        ready = [(-preference.priority[task], task) for task in sorted(todo) if not waits[task]]
        heapify(ready)
        while ready:
            _, task = heappop(ready)
            self.place(task, preference.bias[task] if preference.bias else None)
            for child in [edge.task for edge in self.dag.children[task]]:
                waits[child] -= 1
                if child in todo and waits[child] == 0:
                    heappush(ready, (-preference.priority[child], child))

    def stand(self, orders: Orders) -> None:
        """Put tasks on the devices they are bound to, behind each other in the given order.

        A task waits for its parents on other devices. Where lists contradict each other, since
        devices do not wait for the next in line, the lower device index goes ahead.
        """
        left = [list(reversed(order)) for order in orders]
        open_tasks = {task for order in orders for task in order}
        while open_tasks:
            free = [d for d, order in enumerate(left) if order and self._may(order[-1], open_tasks)]
            device = free[0] if free else next(d for d, order in enumerate(left) if order)
            task = left[device].pop()
            open_tasks.discard(task)
            offer = self._lines.offer(task, device, *self._inputs(task, device), insert=False)
            if offer is not None:
                self._put(task, device, offer)

    def _may(self, task: int, open_tasks: set[int]) -> bool:
        return not any(edge.task in open_tasks for edge in self._parents[task])

    def orders(self) -> Orders:
        """Return each device's tasks by their start, the lower index among equals."""
        lists: Orders = [[] for _ in range(self.dag.devices)]
        for task in sorted(range(len(self.device)), key=lambda t: (self.start_s[t], t)):
            if self.device[task] >= 0:
                lists[self.device[task]].append(task)
        return lists
