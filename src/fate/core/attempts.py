"""What a failed or lost attempt means for the work: another attempt, or the workflow's end."""

from dataclasses import dataclass

from fate.core.chain import HOST, Chain
from fate.core.delays import Delayed, pause_s
from fate.core.fleet import Fleet
from fate.core.lifecycle import Lifecycle
from fate.core.options import SchedulerOptions
from fate.domain.graph import Chunk


@dataclass(slots=True)
class Attempts:
    """Puts the work of ended chains back, charges failures, ends what cannot go on."""

    lifecycle: Lifecycle
    fleet: Fleet
    options: SchedulerOptions

    def failed(
        self,
        chain: Chain,
        now_s: float,
        reason: tuple[str, str],
        avoid: frozenset[int],
        retryable: bool,
    ) -> None:
        """Run again what the attempt left open, elsewhere if possible; or give its workflow up.

        Where the attempt failed on a device of `avoid`, the item it was at waits
        `retry_backoff_s`, doubled with every failure of its own; the rest is ready at once.
        """
        chunk = chain.chunk
        if chunk is None:
            return
        if not self.lifecycle.missing(chunk):
            self.lifecycle.chunk_done(chunk)
            return
        item, failures = self.lifecycle.count_failure(chunk)
        known = chain.ready.avoid if chain.ready is not None else frozenset[int]()
        later = None
        if self.options.retry_backoff_s > 0 and (avoid or chain.device == HOST):
            due_s = now_s + pause_s(self.options.retry_backoff_s, failures)
            later = Delayed(due_s, Chunk(chunk.instance, item, item + 1), known | avoid)
        self.lifecycle.requeue(chunk, now_s, known | avoid, later)
        limit, budget = self.options.max_attempts, self.options.retry_budget
        spent = self.lifecycle.instances[chunk.instance].workflow.failures
        if not retryable:
            tries = ""
        elif failures >= limit:
            tries = f" (attempt {failures} of {limit})"
        elif budget and spent > budget:
            tries = f" (the workflow has used up its retry budget of {budget})"
        else:
            return
        self.fail(chunk.instance, f"{chunk}: {reason[0]}{tries}: {reason[1]}", now_s)

    def fail(self, instance: str, reason: str, now_s: float) -> None:
        """End a workflow; what it has running is cancelled, what it has finished stays."""
        self.lifecycle.fail(instance, reason)
        doomed = [chain for chain in self.fleet.chains if self._abandoned(chain)]
        self.fleet.cancel(doomed)
        self.drop(self.fleet.drop_blocked(doomed, now_s), now_s)

    def fail_unplaceable(self, gone: set[int], now_s: float) -> bool:
        """Fail what only devices that will not come back could have run; tell if there was any."""
        cluster = self.fleet.cluster
        rest = [device for d, device in enumerate(cluster.devices) if d not in gone]
        dead = {
            m: model.id
            for m, model in enumerate(cluster.models)
            if not any(cluster.supports(device, model) for device in rest)
        }
        doomed = [ready for ready in self.lifecycle.pool if ready.work.model in dead]
        for ready in doomed:
            reason = f"{ready.chunk}: every device that can run {dead[ready.work.model]!r} is lost"
            self.fail(ready.chunk.instance, reason, now_s)
        return bool(doomed)

    def _abandoned(self, chain: Chain) -> bool:
        """Whether the chain works for a workflow that has ended."""
        if chain.chunk is None:
            return False
        return self.lifecycle.instances[chain.chunk.instance].workflow.status is not None

    def drop(self, chains: list[Chain], now_s: float) -> None:
        """Put back the work of chains that ended without a failure of theirs."""
        for chain in chains:
            self.requeue(chain, now_s, frozenset())

    def requeue(self, chain: Chain, now_s: float, avoid: frozenset[int]) -> None:
        """Put a chain's missing items back, to run elsewhere than on `avoid` if possible."""
        if chain.chunk is not None:
            self.lifecycle.requeue(chain.chunk, now_s, avoid)
