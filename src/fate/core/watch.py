"""Judges what devices do by what it should take, and drains those that fail or lag behind.

A device is drained only while another one that is trusted can do its work: a slow or shaky device
is better than none. For the same reason slow means slow beside its own estimate *and* beside the
best other device's. What a device did while it was too slow teaches the estimator nothing.
"""

from dataclasses import dataclass, field

from fate.core.attempts import Attempts
from fate.core.chain import HOST, Chain
from fate.core.fleet import Fleet
from fate.core.health import Fault, Health, WorkId
from fate.core.lifecycle import Lifecycle
from fate.core.options import SchedulerOptions
from fate.cost.terms import decode_seconds, prefill_seconds
from fate.domain.messages import Failed, ItemDone
from fate.domain.state import DeviceState

_INF = float("inf")
#: Whatever the factor, less excess than this says nothing of a device [s]: of an item, of a step
#: still under way, of a load (weights may come from a cold disk).
ITEM_FLOOR_S = 0.25
STEP_FLOOR_S = 2.0
LOAD_FLOOR_S = 5.0


@dataclass(slots=True)
class Watch:
    """Feeds the breakers and carries out what they say.

    `next_s` is when the first step under way will have taken too long, if it does.
    """

    lifecycle: Lifecycle
    fleet: Fleet
    attempts: Attempts
    options: SchedulerOptions
    health: Health = field(init=False)
    next_s: float = _INF
    _hosts: list[list[int]] = field(init=False)
    _spared: set[WorkId] = field(default_factory=set[WorkId])
    _losses: int = 0

    def __post_init__(self) -> None:
        """Trust every device."""
        cluster = self.fleet.cluster
        self.health = Health(self.fleet.devices, self.options, self.fleet.outbox)
        self._hosts = [
            [d for d, device in enumerate(cluster.devices) if cluster.supports(device, model)]
            for model in cluster.models
        ]

    # --- what happened -------------------------------------------------------------------

    def item(self, chain: Chain, event: ItemDone, now_s: float) -> bool:
        """Judge a finished item; tell whether to learn from it."""
        if chain.ready is None:
            return True
        d, m, calls = chain.device, chain.ready.work.model, chain.concurrency
        seconds, own_s = event.prefill_s + event.decode_s, self._item_s(d, m, event, calls)
        factor = self.options.slow_factor
        if seconds <= factor * own_s + ITEM_FLOOR_S or not self.fleet.estimator.trusted(d, m):
            self.health.good(d)
            return True
        others_s = [self._item_s(o, m, event, 1) for o in self._others(d, m)]
        if not others_s or seconds <= factor * min(others_s) + ITEM_FLOOR_S:
            self.health.good(d)
            return True
        if self.health.slow(d):
            what = f"an item took {seconds / max(own_s, 1e-3):.1f} times as long as expected"
            self._drain(d, "slow", what, now_s)
        return False

    def failed(self, d: int, m: int, work: WorkId, reason: str, now_s: float) -> None:
        """Work for a model failed on a device in a way that another attempt may mend."""
        if self.health.failed(d, work) and self._others(d, m):
            count = len(self.health.breakers[d].failed)
            what = f"{count} failure{'s' if count > 1 else ''} in a row, the last: {reason}"
            self._drain(d, "failing", what, now_s)

    def rest(self, d: int, event: Failed, now_s: float) -> bool:
        """Leave a device alone where that is all its failure says; tell whether it is."""
        return event.wait_s > 0 and self.health.rest(d, event.wait_s, event.reason, now_s)

    def lost(self, d: int, reason: str, now_s: float) -> None:
        """A device was lost; one that is lost again and again is not trusted when it is back."""
        self._losses += 1
        others = any(self.health.closed(o) for o in range(len(self._states)) if o != d)
        if self.health.failed(d, ("lost", self._losses)) and others:
            self._drain(d, "failing", f"lost again: {reason}", now_s)

    def work_of(self, chain: Chain) -> WorkId:
        """Return what a chain works on: an item, or its activity where there is none."""
        if chain.chunk is None:
            return "", chain.activity or 0
        return chain.chunk.instance, self.lifecycle.next_item(chain.chunk)

    def started(self, chain: Chain | None) -> None:
        """A step began: look at it when it should be over for long.

        No step is due sooner than its floor; most need no closer look, for another is due before.
        """
        if chain is not None and chain.step_since_s + STEP_FLOOR_S < self.next_s:
            self.next_s = min(self.next_s, self._due_s(chain))

    def tick(self, now_s: float) -> bool:
        """Look at what is due; tell whether a device is drained or may be tried since."""
        changed = False
        if self.health.open:
            changed = self.health.cooled(now_s) | self._relieve()
        return (now_s >= self.next_s and self._look(now_s)) or changed

    # --- how -----------------------------------------------------------------------------

    @property
    def _states(self) -> list[DeviceState]:
        return self.fleet.devices

    def _others(self, d: int, m: int) -> list[int]:
        """Return the trusted devices that could run a model instead."""
        return [o for o in self._hosts[m] if o != d and self.health.closed(o)]

    def _item_s(self, d: int, m: int, event: ItemDone, calls: int) -> float:
        """Return what an item should have taken on a device [s]."""
        prefill, decode = self.fleet.estimator.rates(d, m)
        new, cached = float(event.prompt_tokens - event.cached_tokens), float(event.cached_tokens)
        alone_s = prefill_seconds(new, cached, *prefill) + decode_seconds(
            float(event.output_tokens), float(event.prompt_tokens), *decode
        )
        return alone_s * self.fleet.estimator.concurrent(d, calls)

    def _due_s(self, chain: Chain) -> float:
        """Return when the step a chain is at will have taken too long; inf: it is not watched."""
        if chain.device == HOST or chain.activity is None or chain.cancelling:
            return _INF
        if self.health.breakers[chain.device].state == "open":
            return _INF
        return chain.step_since_s + self._limit_s(chain, chain.device)

    def _limit_s(self, chain: Chain, d: int) -> float:
        """Return how long the current step may take where it is judged by device `d` [s]."""
        step, factor = chain.steps[0], self.options.slow_factor
        m = self.fleet.models[step.model]
        if step.kind not in ("call", "load") or not self.fleet.estimator.trusted(d, m):
            return _INF
        if step.kind == "load":
            return factor * self.fleet.estimator.load_seconds(d, m) + LOAD_FLOOR_S
        if chain.ready is None or chain.chunk is None or self.work_of(chain) in self._spared:
            return _INF
        items = chain.chunk.stop - chain.chunk.start
        share = (items - chain.items_done) / items
        whole_s = (
            self.fleet.moving.call_seconds(chain.ready.work, d, 0.0) + self._longer_s(chain, d)
        ) * share
        gather_s = 0.0 if chain.items_done else chain.gather_s
        whole_s = whole_s * self.fleet.estimator.concurrent(d, chain.concurrency) + gather_s
        return factor * whole_s + STEP_FLOOR_S

    def _longer_s(self, chain: Chain, d: int) -> float:
        """Return how much longer a call takes with the longest answers it may give [s]."""
        assert chain.ready is not None and chain.chunk is not None
        work = chain.ready.work
        stage = self.lifecycle.instances[chain.chunk.instance].stage
        items = work.rest_items + 1.0
        room = self.fleet.cluster.models[work.model].context_tokens - work.first_tokens
        more = max((stage.max_tokens or room) - work.output_tokens / items, 0.0)
        _, per_token, per_depth = self.fleet.estimator.rates(d, work.model)[1]
        return items * more * (per_token + per_depth * (work.first_tokens + more))

    def _look(self, now_s: float) -> bool:
        """Drain the devices where a step takes too long; set when to look again."""
        self.next_s, drained = _INF, False
        for chain in list(self.fleet.chains):
            due_s = self._due_s(chain)
            if due_s <= now_s:
                m = self.fleet.models[chain.steps[0].model]
                limits_s = [self._limit_s(chain, o) for o in self._others(chain.device, m)]
                best_s = min(limits_s, default=_INF)
                if chain.step_since_s + best_s <= now_s:
                    self._overdue(chain, now_s)
                    drained = True
                    continue
                again_s = now_s + STEP_FLOOR_S
                due_s = max(chain.step_since_s + best_s, again_s) if best_s < _INF else again_s
            self.next_s = min(self.next_s, due_s)
        return drained

    def _overdue(self, chain: Chain, now_s: float) -> None:
        """Drain a device over a step; the same work will not be held against another one."""
        step = chain.steps[0]
        self._spared.add(self.work_of(chain))
        took_s = now_s - chain.step_since_s
        what = f"a {step.kind} of {step.model} is not over after {took_s:.1f} s"
        self._drain(chain.device, "slow", what, now_s)

    def _drain(self, d: int, fault: Fault, reason: str, now_s: float) -> None:
        """Give a device nothing more, and take away what others can do."""
        self.health.trip(d, fault, reason, now_s)
        taken = [
            chain
            for chain in self.fleet.chains
            if chain.device == d and chain.ready is not None and not chain.cancelling
            if self._others(d, chain.ready.work.model)
        ]
        self.attempts.withdraw(taken, now_s)

    def _relieve(self) -> bool:
        """Where all who could do some ready work are drained, try the one that is due first."""
        tried = False
        for m, hosts in enumerate(self._hosts):
            up = [d for d in hosts if self._states[d].healthy]
            if any(self.health.breakers[d].state != "open" for d in up):
                continue
            doubted = [d for d in up if self.health.breakers[d].fault != "busy"]
            if doubted and any(ready.work.model == m for ready in self.lifecycle.pool):
                first = min(doubted, key=lambda d: (self.health.breakers[d].until_s, d))
                self.health.try_again(first)
                tried = True
        return tried
