"""Plans to start the search from: three greedy ones, and the previous plan."""

from typing import NamedTuple

from fate.domain.plan import Memo
from fate.domain.snapshot import Snapshot
from fate.policy.kernel.backend import Kernel
from fate.policy.kernel.reference import Orders
from fate.policy.kernel.reference_plans import EFT, IDLE_AFFINITY, MIN_MIN, must_first

#: Rank-order EFT is best on long paths, min-min on many short calls, idle-affinity on small
#: frontiers with costly loads; which one is seen only by replaying them.
RULES = (("late-eft", EFT), ("min-min", MIN_MIN), ("idle-affinity", IDLE_AFFINITY))


class Candidate(NamedTuple):
    """A plan and what it is worth; fewer calls left out come first, then lower J."""

    left_out: int
    objective_s: float
    orders: Orders
    base: str

    def beats(self, other: "Candidate") -> bool:
        """Whether this plan is strictly better."""
        return self[:2] < other[:2]


def value(kernel: Kernel, snapshot: Snapshot, orders: Orders, base: str) -> Candidate:
    """Return a plan with its exact value, chunks that must start at the heads of their lists."""
    orders = must_first(snapshot.must_start.tolist(), orders)
    left_out = snapshot.frontier - sum(len(order) for order in orders)
    return Candidate(left_out, kernel.objective(orders), orders, base)


def greedy_candidates(kernel: Kernel, snapshot: Snapshot) -> list[Candidate]:
    """Return the greedy plans, in the order of `RULES`."""
    return [value(kernel, snapshot, kernel.greedy(rule), base) for base, rule in RULES]


class Previous(NamedTuple):
    """The previous plan on today's frontier, and how many chunks it did not know."""

    candidate: Candidate
    fresh: int


def previous_candidate(kernel: Kernel, snapshot: Snapshot, memo: Memo | None) -> Previous | None:
    """Return the previous plan without what has started, new chunks added; None if none is left.

    New chunks, and chunks whose place has become impossible, go where they end first.
    """
    if memo is None or len(memo.orders) != snapshot.devices:
        return None
    node_of = {chunk: node for node, chunk in enumerate(snapshot.chunks)}
    orders = [[node_of[chunk] for chunk in order if chunk in node_of] for order in memo.orders]
    known = sum(len(order) for order in orders)
    if not known:
        return None
    candidate = value(kernel, snapshot, kernel.extend(orders), "previous")
    return Previous(candidate, snapshot.frontier - known)


def best_of(candidates: list[Candidate]) -> Candidate:
    """Return the best plan, the first among equals."""
    best = candidates[0]
    for candidate in candidates[1:]:
        if candidate.beats(best):
            best = candidate
    return best
