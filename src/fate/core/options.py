"""What can be tuned in the core, policy-independent."""

import msgspec

from fate.domain.errors import FateError


class SchedulerOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Options of the decision core; recorded in the journal, since decisions depend on them.

    Attributes:
        chunk_s: maps are dispatched in chunks of about this much work [s]; 0 sends every item
            on its own.
        plan_grace_s: how long an idle device waits for a plan in flight [s].
        max_wait_s: bound on waiting by wait class [s]; an older chunk starts next.
        max_attempts: attempts per item before its workflow fails.
        frontier_per_device, frontier_min, frontier_max: the frontier is bounded by the first
            times the number of devices, but no lower than the second and no higher than the
            third.
        lookahead_depth: generations of waiting stages a policy sees.
        lookahead_max: bound on waiting stages in a snapshot.
        visible_max: bound on all stages in the snapshot of a policy that wants to see all.
        ready_max: ready chunks up to which it does see all; of more it sees so many, and the
            generations below them that the others see too.
        park: keep KV states that would be lost: save them before a model is unloaded and restore
            them with its next load; copy a sequence before a prompt overwrites part of it.
        move: bring KV states from other devices where that is quicker than computing them.
        prefetch: let an idle device load what the next stage will need, into memory that is free
            or that of models nobody needs any more, if that delays no ready work.
        retry_backoff_s: wait before an item's second attempt [s]; doubles with every further one.
        retry_budget: failed attempts a workflow may have in all; one more ends it, 0 means no
            bound.
        slow_factor: a device this many times slower than it should be is drained.
        breaker_failures: failures in a row after which a device is drained.
        max_rest_s: for how long in all a device may ask to be left alone before it is taken for one
            that fails [s].
        cool_down_s: how long a drained device rests before it is tried again [s]; doubles each
            time it fails the trial.
    """

    chunk_s: float = 5.0
    plan_grace_s: float = 0.25
    max_wait_s: dict[str, float] = msgspec.field(
        default_factory=lambda: {"default": 600.0, "interactive": 30.0}
    )
    max_attempts: int = 3
    frontier_per_device: int = 4
    frontier_min: int = 32
    frontier_max: int = 128
    lookahead_depth: int = 3
    lookahead_max: int = 256
    visible_max: int = 1024
    ready_max: int = 384
    park: bool = True
    move: bool = True
    prefetch: bool = False
    retry_backoff_s: float = 0.0
    retry_budget: int = 0
    slow_factor: float = 5.0
    breaker_failures: int = 3
    cool_down_s: float = 10.0
    max_rest_s: float = 300.0

    def __post_init__(self) -> None:
        """Refuse values that would stop the scheduler."""
        if self.max_attempts < 1 or self.frontier_max < 1 or self.frontier_per_device < 1:
            raise FateError("options: max_attempts and the frontier bounds must be at least 1")
        times = (self.chunk_s, self.plan_grace_s, self.retry_backoff_s, self.max_rest_s)
        times += tuple(self.max_wait_s.values())
        if not all(seconds >= 0 for seconds in times):
            raise FateError("options: times must not be negative")
        if self.retry_budget < 0:
            raise FateError("options: retry_budget must not be negative (0: no bound)")
        if self.slow_factor <= 1 or self.breaker_failures < 1 or not self.cool_down_s > 0:
            raise FateError(
                "options: slow_factor must be more than 1, breaker_failures at least 1, "
                "cool_down_s more than 0"
            )
