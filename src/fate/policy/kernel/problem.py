"""The planning problem in two forms: lists for the reference, arrays for the compiled kernel.

Both hold the same numbers under the same names, with the shapes of `domain.snapshot.Snapshot`.
"""

from typing import Any, NamedTuple

import numpy as np

from fate.domain.snapshot import F64, I32, I64, U8, Snapshot

#: As many devices as one likes may hold the chunks of an instance.
UNLIMITED = 1 << 30


class Weights(NamedTuple):
    """What a planner may choose; the defaults are those of the `fate` policy.

    `tau` weighs the path below a node, `eps` the sum of finish times. `lam` weighs the horizon
    term, `gamma` discounts a generation, `depth` counts generations, `branch` bounds the children
    looked at. `limit` is the number of devices that may hold chunks of one instance.
    `reachability` counts waiting for busy devices, and only eligible ones, in the horizon.
    """

    tau: float = 1.0
    eps: float = 0.03
    lam: float = 0.5
    gamma: float = 0.6
    depth: int = 2
    branch: int = 4
    limit: int = UNLIMITED
    reachability: bool = True


class Plain(NamedTuple):
    """The problem as plain lists and numbers, for the reference kernel."""

    weights: Weights
    now_s: float
    clock: int
    frontier: int
    contents_now: int
    model: list[int]
    first_tokens: list[float]
    rest_tokens: list[float]
    head_tokens: list[float]
    rest_items: list[float]
    output_tokens: list[float]
    tail_s: list[float]
    transfer_s: list[list[float]]
    output_bytes: list[float]
    instance: list[int]
    eligible: list[list[int]]
    hit: list[list[int]]
    must_start: list[int]
    child_ptr: list[int]
    child: list[int]
    child_share: list[float]
    free_at_s: list[list[float]]
    resident: list[list[int]]
    used_at: list[list[int]]
    pinned: list[list[int]]
    footprint_bytes: list[list[int]]
    memory_bytes: list[int]
    content: list[list[list[int]]]
    content_used_at: list[list[list[int]]]
    running_instance: list[list[int]]
    load_s: list[list[float]]
    unload_s: list[list[float]]
    prefill: list[list[list[float]]]
    decode: list[list[list[float]]]
    slowdown: list[list[float]]
    link: list[list[list[float]]]

    @property
    def devices(self) -> int:
        """D, the number of devices."""
        return len(self.free_at_s)


class Problem(NamedTuple):
    """The problem as C-ordered arrays of fixed types, for the compiled kernel."""

    weights: Weights
    now_s: float
    clock: int
    frontier: int
    contents_now: int
    model: I32
    first_tokens: F64
    rest_tokens: F64
    head_tokens: F64
    rest_items: F64
    output_tokens: F64
    tail_s: F64
    transfer_s: F64
    output_bytes: F64
    instance: I32
    eligible: U8
    hit: I32
    must_start: U8
    child_ptr: I32
    child: I32
    child_share: F64
    free_at_s: F64
    resident: U8
    used_at: I64
    pinned: U8
    footprint_bytes: I64
    memory_bytes: I64
    content: I32
    content_used_at: I64
    running_instance: I32
    load_s: F64
    unload_s: F64
    prefill: F64
    decode: F64
    slowdown: F64
    link: F64


#: Arrays with a row per node; the reference needs those of waiting stages only for the horizon.
_NODE_FIELDS = frozenset(
    {
        "model",
        "first_tokens",
        "rest_tokens",
        "head_tokens",
        "rest_items",
        "output_tokens",
        "tail_s",
        "transfer_s",
        "output_bytes",
        "instance",
        "eligible",
        "hit",
    }
)
_EDGE_FIELDS = frozenset({"child_ptr", "child", "child_share"})
_FIELDS = Plain._fields[5:]
_FRONTIER_FIELDS = tuple(name for name in _FIELDS if name not in _EDGE_FIELDS)
_DTYPES: dict[str, Any] = {
    name: {I32: np.int32, I64: np.int64, F64: np.float64, U8: np.uint8}[kind]
    for name, kind in Problem.__annotations__.items()
    if name in _FIELDS
}


def _clean(weights: Weights) -> Weights:
    """Fix the type of every weight, so that the compiled kernel has one signature."""
    tau, eps, lam, gamma, depth, branch, limit, reachability = weights
    return Weights(
        float(tau),
        float(eps),
        float(lam),
        float(gamma),
        int(depth),
        int(branch),
        int(limit),
        bool(reachability),
    )


def plain(snapshot: Snapshot, weights: Weights, *, lookahead: bool = True) -> Plain:
    """Return the problem as lists; without the lookahead there are only the frontier's rows."""
    frontier = snapshot.frontier
    values: dict[str, Any] = {}
    if lookahead:
        for name in _FIELDS:
            values[name] = getattr(snapshot, name).tolist()
    else:
        for name in _FRONTIER_FIELDS:
            array = getattr(snapshot, name)
            values[name] = (array[:frontier] if name in _NODE_FIELDS else array).tolist()
        values.update(child_ptr=[0] * (frontier + 1), child=[], child_share=[])
    return Plain(
        weights,
        float(snapshot.now_s),
        int(snapshot.clock),
        frontier,
        snapshot.contents_now,
        **values,
    )


def problem(snapshot: Snapshot, weights: Weights) -> Problem:
    """Return the problem as arrays; their types never vary, whatever the snapshot was made of."""
    arrays: dict[str, Any] = {
        name: np.require(getattr(snapshot, name), dtype, ["C", "W"])
        for name, dtype in _DTYPES.items()
    }
    return Problem(
        _clean(weights),
        float(snapshot.now_s),
        int(snapshot.clock),
        snapshot.frontier,
        snapshot.contents_now,
        **arrays,
    )
