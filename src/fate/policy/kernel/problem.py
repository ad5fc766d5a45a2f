"""The planning problem in two forms: lists for the reference, arrays for the compiled kernel.

Both hold the same numbers under the same names, with the shapes of `domain.snapshot.Snapshot`.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fate.domain.snapshot import F64, I32, I64, Snapshot

#: As many devices as one likes may hold the chunks of an instance.
UNLIMITED = 1 << 30


class Weights(NamedTuple):
    """What a planner may choose; the defaults are those of the `fate` policy.

    `tau` weighs the path below a node, `eps` the sum of finish times. `lam` weighs the horizon
    term, `gamma` discounts a generation, `depth` counts generations, `branch` bounds the children
    looked at; their transfers count by their mean where `spread` is 0, by their sum where it is 1.
    `limit` is the number of devices that may hold chunks of one instance.
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
    spread: float = 1.0


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
    released_at_s: list[float]
    prompt: list[list[int]]
    moved: list[list[float]]
    move_s: list[list[float]]
    must_start: list[int]
    held: list[list[int]]
    path_tokens: list[list[int]]
    cached_at: list[list[int]]
    cache_tokens: list[int]
    child_ptr: list[int]
    child: list[int]
    child_share: list[float]
    child_after_s: list[float]
    free_at_s: list[list[float]]
    resident: list[list[int]]
    used_at: list[list[int]]
    pinned: list[list[int]]
    footprint_bytes: list[list[int]]
    memory_bytes: list[int]
    content: list[list[list[int]]]
    content_used_at: list[list[list[int]]]
    parks: list[list[int]]
    running_instance: list[list[int]]
    running_model: list[list[int]]
    running_sequence: list[list[int]]
    call_at_s: list[list[float]]
    call_gather_s: list[list[float]]
    call_work_s: list[list[float]]
    settled_at_s: list[list[float]]
    loader_at_s: list[float]
    load_s: list[list[float]]
    unload_s: list[list[float]]
    prefill: list[list[list[float]]]
    decode: list[list[list[float]]]
    copy_s: list[list[float]]
    slowdown: list[list[float]]
    link: list[list[list[float]]]

    @property
    def devices(self) -> int:
        """D, the number of devices."""
        return len(self.free_at_s)


class Seat(NamedTuple):
    """The sequence slot of a call, -1 without one, and the tokens of its prompt that it holds.

    `copied` are tokens that a copy of another slot, `source`, would bring in `copy_s` seconds; 0
    where none is to be made.
    """

    sequence: int
    cached: float
    copied: float
    copy_s: float
    source: int


# Columns of the packed tables of `Problem`.
FIRST, REST, HEAD, ITEMS, OUTPUT, TAIL, BYTES, RELEASED = range(8)
MODEL, INSTANCE, MUST = range(3)
ELIGIBLE, TRANSFER, MOVED, MOVE = range(4)
FREE, SLOWDOWN, RUNNING, CALL_AT, CALL_GATHER, CALL_WORK, IN_USE, SEQUENCE, LOADER_AT = range(9)
LOAD, UNLOAD, PREFILL, DECODE, COPY, SETTLED_AT = 0, 1, 2, 5, 8, 9
RESIDENT, USED, PINNED, FOOTPRINT, MEMORY, PARKS = range(6)
HELD, HELD_USED = range(2)
OWN, UPTO = range(2)
SHARE, AFTER = range(2)


class Problem(NamedTuple):
    """The problem as C-ordered arrays of fixed types, for the compiled kernel.

    Columns are packed into few tables, because the time to compile a function grows with the
    number of arrays it is handed: 48 s with one array per field, half of that now.

    sizes [N, 8] f64, ids [N, 3] i64, cells [N, D, 4] f64, slots [D, S, 9] f64,
    rates [D, M, 10] f64, store [D, M, 6] i64, content [D, M, K, 2] i64, edges [E, 2] f64,
    cached [D, Q + 1] i64 with the cache's budget in the last column; the rest as in `Plain`. When
    a device's loader is free stands in each of its slots.
    """

    weights: Weights
    now_s: float
    clock: int
    frontier: int
    contents_now: int
    sizes: F64
    ids: I64
    cells: F64
    prompt: I32
    held: I32
    path_tokens: I32
    cached: I64
    child_ptr: I64
    child: I64
    edges: F64
    slots: F64
    rates: F64
    store: I64
    content: I64
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
        "released_at_s",
        "prompt",
        "moved",
        "move_s",
    }
)
_EDGE_FIELDS = frozenset({"child_ptr", "child", "child_share", "child_after_s"})
_FIELDS = Plain._fields[5:]
_FRONTIER_FIELDS = tuple(name for name in _FIELDS if name not in _EDGE_FIELDS)


def _clean(weights: Weights) -> Weights:
    """Fix the type of every weight, so that the compiled kernel has one signature."""
    tau, eps, lam, gamma, depth, branch, limit, reachability, spread = weights
    return Weights(
        float(tau),
        float(eps),
        float(lam),
        float(gamma),
        int(depth),
        int(branch),
        int(limit),
        bool(reachability),
        float(spread),
    )


def plain(snapshot: Snapshot, weights: Weights, *, lookahead: bool = True) -> Plain:
    """Return the problem as lists; without the lookahead there are only the frontier's rows."""
    frontier = snapshot.frontier
    values: dict[str, Any] = {}
    if lookahead:
        for name in _FIELDS:
            values[name] = getattr(snapshot, name).tolist()
    else:
        rows = dict.fromkeys(_NODE_FIELDS, frontier) | {"held": snapshot.contents_now + frontier}
        for name in _FRONTIER_FIELDS:
            values[name] = getattr(snapshot, name)[: rows.get(name)].tolist()
        values.update(child_ptr=[0] * (frontier + 1), child=[], child_share=[], child_after_s=[])
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
    s = snapshot
    must = np.zeros(len(s.model), dtype=np.int64)
    must[: s.frontier] = s.must_start
    columns = (s.first_tokens, s.rest_tokens, s.head_tokens, s.rest_items, s.output_tokens)
    seconds = (s.load_s[..., None], s.unload_s[..., None])
    rates = (*seconds, s.prefill, s.decode, s.copy_s[..., None], s.settled_at_s[..., None])
    calls = (s.call_at_s, s.call_gather_s, s.call_work_s, s.running_model, s.running_sequence)
    loader_at_s = np.broadcast_to(s.loader_at_s[:, None], s.free_at_s.shape)
    memory = np.broadcast_to(s.memory_bytes[:, None], s.used_at.shape)
    return Problem(
        _clean(weights),
        float(s.now_s),
        int(s.clock),
        s.frontier,
        s.contents_now,
        _pack([*columns, s.tail_s, s.output_bytes, s.released_at_s], np.float64),
        _pack([s.model, s.instance, must], np.int64),
        _pack([s.eligible, s.transfer_s, s.moved, s.move_s], np.float64),
        np.require(s.prompt, np.int32, ["C", "W"]),
        np.require(s.held, np.int32, ["C", "W"]),
        np.require(s.path_tokens, np.int32, ["C", "W"]),
        np.ascontiguousarray(
            np.concatenate([s.cached_at, s.cache_tokens[:, None]], axis=1), dtype=np.int64
        ),
        np.require(s.child_ptr, np.int64, ["C", "W"]),
        np.require(s.child, np.int64, ["C", "W"]),
        _pack([s.child_share, s.child_after_s], np.float64),
        _pack([s.free_at_s, s.slowdown, s.running_instance, *calls, loader_at_s], np.float64),
        np.ascontiguousarray(np.concatenate(rates, axis=-1), dtype=np.float64),
        _pack([s.resident, s.used_at, s.pinned, s.footprint_bytes, memory, s.parks], np.int64),
        _pack([s.content, s.content_used_at], np.int64),
        np.require(s.link, np.float64, ["C", "W"]),
    )


def _pack(columns: Sequence[NDArray[Any]], dtype: type[Any]) -> NDArray[Any]:
    """Return equally shaped arrays as the columns of one table."""
    table = np.empty((*columns[0].shape, len(columns)), dtype=dtype)
    for k, column in enumerate(columns):
        table[..., k] = column
    return table
