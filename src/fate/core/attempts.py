"""What a failed or lost attempt means for the work: another attempt, or the end of something."""

from dataclasses import dataclass

from fate.core.chain import HOST, Chain
from fate.core.delays import Delayed, pause_s
from fate.core.fleet import Fleet
from fate.core.lifecycle import WHOLE, Lifecycle
from fate.core.options import SchedulerOptions
from fate.domain.graph import Chunk, InstanceId


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
        """Run again what the attempt left open, elsewhere if possible; or give an item up.

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
        final = self._final(chunk, failures, retryable=retryable)
        later = None
        if final is not None:
            self.lifecycle.give_up(
                chunk.instance, [item], f"{chunk}: {reason[0]}{final}: {reason[1]}"
            )
        elif self.options.retry_backoff_s > 0 and (avoid or chain.device == HOST):
            due_s = now_s + pause_s(self.options.retry_backoff_s, failures)
            later = Delayed(due_s, Chunk(chunk.instance, item, item + 1), known | avoid)
        self.lifecycle.requeue(chunk, now_s, known | avoid, later)

    def _final(self, chunk: Chunk, failures: int, *, retryable: bool) -> str | None:
        """Return what to say of the last attempt at an item; None if there may be another."""
        limit, budget = self.options.max_attempts, self.options.retry_budget
        spent = self.lifecycle.instances[chunk.instance].workflow.failures
        if not retryable:
            return ""
        if failures >= limit:
            return f" (attempt {failures} of {limit})"
        if budget and spent > budget:
            return f" (the workflow has used up its retry budget of {budget})"
        return None

    def expand_failed(self, name: InstanceId, reason: str) -> None:
        """Give an instance up that cannot be rendered."""
        instance = self.lifecycle.asked(name)
        if instance is not None:
            single = instance.group is None and not instance.stage.mapped
            self.lifecycle.give_up(name, [0 if single else WHOLE], reason)

    def settle(self, now_s: float) -> None:
        """Stop what runs for something that has ended; what is finished stays."""
        doomed = [chain for chain in self.fleet.chains if self._for_nobody(chain)]
        self.fleet.cancel(doomed)
        self.drop(self.fleet.drop_blocked(doomed, now_s), now_s)
        self.lifecycle.settle(now_s)

    def fail_unplaceable(self, gone: set[int], now_s: float) -> bool:
        """Give up what only devices that are gone for good could run; tell if there was any."""
        cluster = self.fleet.cluster
        rest = [device for d, device in enumerate(cluster.devices) if d not in gone]
        dead = {
            m: model.id
            for m, model in enumerate(cluster.models)
            if not any(cluster.supports(device, model) for device in rest)
        }
        doomed = [ready for ready in self.lifecycle.pool if ready.work.model in dead]
        for ready in doomed:
            chunk, model = ready.chunk, dead[ready.work.model]
            if self.lifecycle.pool.get(chunk) is not None:
                self.lifecycle.pool.take(chunk)
                reason = f"{chunk}: every device that can run {model!r} is lost"
                self.lifecycle.give_up(chunk.instance, range(chunk.start, chunk.stop), reason)
                self.lifecycle.requeue(chunk, now_s, frozenset())
        return bool(doomed)

    def _for_nobody(self, chain: Chain) -> bool:
        """Whether the chain works for a workflow or an instance that has ended early."""
        if chain.chunk is None:
            return False
        instance = self.lifecycle.instances[chain.chunk.instance]
        return instance.workflow.status is not None or instance.status == "skipped"

    def withdraw(self, chains: list[Chain], now_s: float) -> None:
        """Take work off a device that is drained: nothing is charged, all of it runs elsewhere."""
        loading = [c for c in chains if c.activity and c.steps[0].kind in ("load", "unload")]
        for chain in loading:
            self.lifecycle.requeue(self.fleet.detach(chain), now_s, frozenset())
        rest = [chain for chain in chains if chain not in loading]
        self.fleet.cancel(rest)
        self.drop(self.fleet.drop_blocked(rest, now_s), now_s)

    def drop(self, chains: list[Chain], now_s: float) -> None:
        """Put back the work of chains that ended without a failure of theirs."""
        for chain in chains:
            self.requeue(chain, now_s, frozenset())

    def requeue(self, chain: Chain, now_s: float, avoid: frozenset[int]) -> None:
        """Put a chain's missing items back, to run elsewhere than on `avoid` if possible."""
        if chain.chunk is not None:
            self.lifecycle.requeue(chain.chunk, now_s, avoid)
