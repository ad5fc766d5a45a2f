"""Spends a budget of local search moves on several starting plans."""

import numpy as np

from fate.domain.snapshot import I64, Snapshot
from fate.policy.fate.candidates import Candidate, best_of
from fate.policy.kernel.backend import Kernel

#: No more moves than this per (call, device): beyond it small frontiers gain nothing.
_MOVES_PER_PAIR = 40
#: Up to so many calls a search soon stands still, so it starts from every plan; on larger ones
#: it is still getting better when the moves run out, so that the best plan gets all of them.
_SMALL = 16
#: Share of the moves that a plan gets where nothing is new: what it goes on from has been searched
#: before, and while it is searched again an idle device waits.
_STANDING = 0.125


def budget(snapshot: Snapshot, moves: int, fresh: int) -> int:
    """Return the moves worth trying on a frontier; one call alone is placed by the greedy plans.

    `fresh` counts the calls that the previous plan did not know: all moves are for a frontier of
    new calls, and fewer the more of it has been searched before.
    """
    if snapshot.frontier < 2:
        return 0
    most = min(moves, _MOVES_PER_PAIR * snapshot.frontier * snapshot.devices)
    return int(most * min(_STANDING + fresh / snapshot.frontier, 1.0))


def improve(
    kernel: Kernel, snapshot: Snapshot, starts: list[Candidate], count: int
) -> tuple[Candidate, Candidate]:
    """Return (the start the result comes from, the best plan found) after `count` moves."""
    moves = _moves(snapshot, count)
    tried = [(start, start) for start in starts]
    if snapshot.frontier <= _SMALL:
        share = count // (2 * len(starts))
        tried = [
            (start, _climb(kernel, start, moves[k * share : (k + 1) * share]))
            for k, start in enumerate(starts)
        ]
        moves = moves[share * len(starts) :]
    best = best_of([found for _, found in tried])
    start = next(start for start, found in tried if found is best)
    return start, _climb(kernel, best, moves)


def polish(kernel: Kernel, snapshot: Snapshot, candidate: Candidate, count: int) -> Candidate:
    """Return a plan improved by `count` moves of its own."""
    return _climb(kernel, candidate, _moves(snapshot, count))


def _climb(kernel: Kernel, start: Candidate, moves: I64) -> Candidate:
    """Return the plan after local search, or the start if it is not strictly better."""
    if not len(moves):
        return start
    orders, objective_s = kernel.local_search(start.orders, moves)
    found = start._replace(orders=orders, objective_s=objective_s)
    return found if found.beats(start) else start


def _moves(snapshot: Snapshot, count: int) -> I64:
    """Return random moves from the snapshot's own seed."""
    return np.random.default_rng(snapshot.seed).integers(0, 1 << 31, (count, 4))
