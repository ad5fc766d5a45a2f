"""What a policy answers: ordered lists for every device, and what it wants to remember."""

import msgspec

from fate.domain.graph import Chunk


class Memo(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A policy's only memory between two plans; losing it may cost quality, never correctness.

    `orders` repeats the orders the policy decided on, `cursor` is where a policy that takes turns
    goes on, `ahead` what a policy that plans whole workflows has laid down for each device:
    numbers of instances, waiting ones too, in the order in which they are to run. One that searches
    all nodes keeps the `nodes` it planned for by name, in turn, the `devices` of each, and `end_s`
    when the last of them was to end; names and devices lie apart since that is read back faster.
    """

    orders: tuple[tuple[Chunk, ...], ...] = ()
    cursor: int = 0
    ahead: tuple[tuple[int, ...], ...] = ()
    nodes: tuple[str, ...] = ()
    devices: tuple[int, ...] = ()
    end_s: float = 0.0


class Prefetch(msgspec.Struct, frozen=True, array_like=True):
    """A load that no call has asked for yet; device and model are indices in the cluster."""

    device: int
    model: int


class Search(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How a plan came about: counts and solver facts, for metrics and `fate explain`.

    `base` names the greedy plan the search started from, `objective_s` the value of the plan,
    `solver` the CP-SAT status or `skipped`, `gap` its relative gap, `kept` whether the previous
    plan was kept because the gain was below the margin.
    """

    base: str = ""
    objective_s: float = 0.0
    moves: int = 0
    solver: str = ""
    gap: float = 0.0
    adopted: bool = False
    kept: bool = False
    backend: str = ""


class Plan(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Ordered chunks for every device of the cluster, busy ones too; heads start when slots free.

    A device that is idle with an empty list waits on purpose.
    """

    policy: str
    orders: tuple[tuple[Chunk, ...], ...]
    prefetch: tuple[Prefetch, ...] = ()
    memo: Memo | None = None
    search: Search = Search()
