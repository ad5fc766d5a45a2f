"""What the planner weighs: the horizon's weights, and the state terms that count."""

import dataclasses
from typing import Any

import numpy as np

from fate.domain.snapshot import Snapshot
from fate.policy.fate.options import FateOptions
from fate.policy.kernel.problem import Weights


def weights(options: FateOptions, limit: int) -> Weights:
    """Return the kernel's weights for a shard limit."""
    return Weights(
        tau=options.tau,
        eps=options.eps,
        lam=options.lam,
        gamma=options.gamma,
        depth=options.depth,
        branch=options.branch,
        limit=limit,
        reachability=options.reachability,
        spread=options.spread,
    )


def seen(snapshot: Snapshot, options: FateOptions) -> Snapshot:
    """Return the snapshot without the state terms that are switched off.

    Their cost tables become zero, so the kernels need no switches: without residency loads are
    free, without locality outputs are everywhere, without prefix nothing is cached.
    """
    blind: dict[str, Any] = {}
    if not options.residency:
        blind |= _zero(snapshot, "load_s", "unload_s")
    if not options.locality:
        blind |= _zero(snapshot, "transfer_s", "link")
    if not options.prefix:
        blind |= _zero(snapshot, "moved", "move_s")
        blind["prompt"] = np.full_like(snapshot.prompt, -1)
    return dataclasses.replace(snapshot, **blind) if blind else snapshot


def _zero(snapshot: Snapshot, *names: str) -> dict[str, Any]:
    """Return the arrays with every finite entry zero; inf still means impossible."""
    tables: dict[str, Any] = {name: getattr(snapshot, name) for name in names}
    return {name: np.where(np.isinf(table), table, 0 * table) for name, table in tables.items()}
