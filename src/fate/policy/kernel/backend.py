"""Which kernel plans: the reference until the compiled one has been warmed up.

The two agree to the last bit, and budgets are counts, so the moment of the swap changes no plan.
That is why this one piece of process-wide state is harmless. Threads that warm the kernel are
started by drivers, not here.
"""

import hashlib
from pkgutil import get_data
from typing import Any, Protocol, cast

import numpy as np

from fate.domain.graph import Chunk
from fate.domain.snapshot import F64, I64, Snapshot
from fate.policy.kernel import reference, reference_horizon, reference_plans
from fate.policy.kernel.problem import Plain, Problem, Weights, plain, problem
from fate.policy.kernel.reference import Future, Orders
from fate.policy.kernel.reference_plans import Rule
from fate.policy.kernel.reference_project import Aims
from fate.policy.kernel.reference_rolled import LATE_EFT
from fate.policy.kernel.reference_whole import MOVE_WIDTH
from fate.policy.kernel.whole import CompiledWhole, ReferenceWhole, Whole


class Kernel(Protocol):
    """The hot loops for one problem; orders are node indices by device."""

    @property
    def name(self) -> str:
        """`reference` or `compiled`."""
        ...

    @property
    def future(self) -> Future:
        """[F, D] horizon regret in seconds, computed on first use."""
        ...

    def replay(self, orders: Orders) -> list[float]:
        """Return [F] when each call ends; inf where it does not run."""
        ...

    def objective(self, orders: Orders) -> float:
        """Return J of a plan, horizon included."""
        ...

    def greedy(self, rule: Rule) -> Orders:
        """Return a greedy plan; EFT and IDLE_AFFINITY do not count the horizon, the others do."""
        ...

    def extend(self, orders: Orders) -> Orders:
        """Return the lists with missing calls put where they end first, horizon included."""
        ...

    def local_search(self, orders: Orders, moves: I64) -> tuple[Orders, float]:
        """Return an improved plan and its J; `moves` [K, 4] are random integers >= 0."""
        ...

    def whole(self, aims: Aims) -> Whole:
        """Open the whole visible DAG."""
        ...


class ReferenceKernel:
    """Plain Python."""

    name = "reference"

    def __init__(self, snapshot: Snapshot, weights: Weights) -> None:
        self._plain: Plain = plain(snapshot, weights)
        self._workflow: list[int] = snapshot.workflow.tolist()
        self._future: Future | None = None

    @property
    def future(self) -> Future:
        """See `Kernel.future`."""
        if self._future is None:
            self._future = reference_horizon.horizon(self._plain)
        return self._future

    def replay(self, orders: Orders) -> list[float]:
        """See `Kernel.replay`."""
        return reference.replay(self._plain, orders)

    def objective(self, orders: Orders) -> float:
        """See `Kernel.objective`."""
        return reference.objective(self._plain, orders, self.future)

    def greedy(self, rule: Rule) -> Orders:
        """See `Kernel.greedy`."""
        blind = rule in (reference_plans.EFT, reference_plans.IDLE_AFFINITY)
        future = reference_plans.no_future(self._plain) if blind else self.future
        return reference_plans.greedy(self._plain, future, rule)

    def extend(self, orders: Orders) -> Orders:
        """See `Kernel.extend`."""
        return reference_plans.extend(self._plain, orders, self.future)

    def local_search(self, orders: Orders, moves: I64) -> tuple[Orders, float]:
        """See `Kernel.local_search`."""
        return reference_plans.local_search(self._plain, orders, self.future, moves.tolist())

    def whole(self, aims: Aims) -> Whole:
        """See `Kernel.whole`."""
        return ReferenceWhole(self._plain, self._workflow, aims)


class CompiledKernel:
    """The same, compiled; only built once `warm` has imported the compiled modules."""

    name = "compiled"

    def __init__(self, snapshot: Snapshot, weights: Weights) -> None:
        from fate.policy.kernel import (
            compiled,
            compiled_horizon,
            compiled_plans,
            compiled_search,
        )

        self._core, self._plans = compiled, compiled_plans
        self._find, self._ahead = compiled_search, compiled_horizon
        self._problem: Problem = problem(snapshot, weights)
        self._workflow: list[int] = snapshot.workflow.tolist()
        self._future: F64 | None = None

    def _future_array(self) -> F64:
        future = self._future
        if future is None:
            future = self._future = self._ahead.horizon(self._problem)
        return future

    @property
    def future(self) -> Future:
        """See `Kernel.future`."""
        return self._future_array().tolist()

    def replay(self, orders: Orders) -> list[float]:
        """See `Kernel.replay`."""
        return self._core.replay(self._problem, *self._pack(orders)).tolist()

    def objective(self, orders: Orders) -> float:
        """See `Kernel.objective`."""
        lists, lengths = self._pack(orders)
        return float(self._core.objective(self._problem, lists, lengths, self._future_array()))

    def greedy(self, rule: Rule) -> Orders:
        """See `Kernel.greedy`."""
        if rule == reference_plans.IDLE_AFFINITY:
            return _unpack(*self._plans.idle_affinity(self._problem))
        if rule != reference_plans.EFT:
            return _unpack(*self._plans.batch_mode(self._problem, self._future_array(), rule))
        nothing, lengths = self._pack([[] for _ in range(self._problem.slots.shape[0])])
        future = np.zeros(self._problem.cells.shape[:2])
        return _unpack(*self._plans.extend(self._problem, nothing, lengths, future))

    def extend(self, orders: Orders) -> Orders:
        """See `Kernel.extend`."""
        lists, lengths = self._pack(orders)
        return _unpack(*self._plans.extend(self._problem, lists, lengths, self._future_array()))

    def local_search(self, orders: Orders, moves: I64) -> tuple[Orders, float]:
        """See `Kernel.local_search`."""
        lists, lengths = self._pack(orders)
        lists, lengths, value_s = self._find.local_search(
            self._problem, lists, lengths, self._future_array(), moves
        )
        return _unpack(lists, lengths), float(value_s)

    def whole(self, aims: Aims) -> Whole:
        """See `Kernel.whole`."""
        return CompiledWhole(self._problem, self._workflow, aims)

    def _pack(self, orders: Orders) -> tuple[I64, I64]:
        lengths = np.array([len(order) for order in orders], dtype=np.int64)
        lists = np.full((len(orders), self._problem.frontier), -1, dtype=np.int64)
        for device, order in enumerate(orders):
            lists[device, : len(order)] = order
        return lists, lengths


def _unpack(lists: I64, lengths: I64) -> Orders:
    return [row[:length] for row, length in zip(lists.tolist(), lengths.tolist(), strict=True)]


#: Everything that compiled code is made of, constants included.
_COMPILED_SOURCES = (
    "cost/terms.py",
    "domain/state.py",
    "policy/kernel/problem.py",
    "policy/kernel/reference_plans.py",
    "policy/kernel/compiled_state.py",
    "policy/kernel/compiled_calls.py",
    "policy/kernel/compiled.py",
    "policy/kernel/compiled_plans.py",
    "policy/kernel/compiled_search.py",
    "policy/kernel/compiled_horizon.py",
    "policy/kernel/reference_project.py",
    "policy/kernel/reference_rolled.py",
    "policy/kernel/reference_whole.py",
    "policy/kernel/compiled_project.py",
    "policy/kernel/compiled_rolled.py",
    "policy/kernel/compiled_whole.py",
)


class _Active:
    """The kernel in use, and why."""

    kernel: type[ReferenceKernel] | type[CompiledKernel] = ReferenceKernel
    status: str = "reference"


def open_kernel(snapshot: Snapshot, weights: Weights) -> Kernel:
    """Return the kernel in use, opened on one problem."""
    return _Active.kernel(snapshot, weights)


def status() -> str:
    """Return `reference`, `compiled`, or `reference (why the compiled kernel is not used)`."""
    return _Active.status


def warm(cache_dir: str, *, whole: bool = False) -> str:
    """Compile the kernel, or load it from `cache_dir` (writable), run it once, and swap.

    With `whole` also what plans the whole visible DAG; else that is compiled on its first use.

    Takes a minute or two of one core on a new machine, a second or two later on. Whatever goes
    wrong, the reference stays in use and `status` says why.
    """
    try:
        import numba

        cast("Any", numba).config.CACHE_DIR = f"{cache_dir}/{_digest()}"
        kernel = CompiledKernel(_sample(), Weights())
        kernel.greedy(reference_plans.MIN_MIN)
        orders = kernel.greedy(reference_plans.IDLE_AFFINITY)
        kernel.local_search(orders, np.zeros((1, 4), dtype=np.int64))
        kernel.objective(orders)
        kernel.replay(kernel.extend(orders))
        if whole:
            dag = kernel.whole(Aims())
            dag.search(dag.affinity(), np.zeros((1, MOVE_WIDTH), dtype=np.int64))
            dag.rolled(LATE_EFT)
    except Exception as error:  # noqa: BLE001 -- a planner without numba still plans
        _Active.kernel = ReferenceKernel
        _Active.status = f"reference ({type(error).__name__}: {error})"
    else:
        _Active.kernel, _Active.status = CompiledKernel, "compiled"
    return _Active.status


def _digest() -> str:
    """Return a digest of everything that is compiled: numba does not see edits across files."""
    text = b"".join(get_data("fate", source) or b"" for source in _COMPILED_SOURCES)
    return hashlib.sha256(text).hexdigest()[:12]


def _sample() -> Snapshot:
    """Return a problem of one call on one idle device; every array has its final type."""
    row, square, cube = (1,), (1, 1), (1, 1, 1)
    shapes: dict[str, tuple[int, ...]] = {
        "first_tokens": row, "rest_tokens": row, "head_tokens": row, "rest_items": row,
        "output_tokens": row, "tail_s": row, "transfer_s": square, "output_bytes": row,
        "moved": square, "move_s": square,
        "waited_s": row, "child_share": (0,), "child_after_s": (0,), "released_at_s": row,
        "free_at_s": square, "load_s": square, "unload_s": square, "prefill": (1, 1, 3),
        "decode": (1, 1, 3), "copy_s": square, "slowdown": square, "link": (1, 1, 2),
        "attained_s": row, "path_s": row, "age_s": row, "gap_s": row, "call_at_s": square,
        "call_gather_s": square, "call_work_s": square, "settled_at_s": square, "loader_at_s": row,
    }  # fmt: skip
    integers: dict[str, tuple[int, ...]] = {
        "model": row, "instance": row, "workflow": row, "prompt": square, "held": square,
        "path_tokens": (1, 2), "cached_at": square, "cache_tokens": row, "child_ptr": (2,),
        "child": (0,), "content": cube, "running_instance": square, "used_at": square,
        "footprint_bytes": square, "memory_bytes": row, "content_used_at": cube,
        "resident": square, "pinned": square, "eligible": square, "must_start": row,
        "parks": square, "home": row, "parents_on": square, "running_model": square,
        "running_sequence": square,
    }  # fmt: skip
    arrays: dict[str, Any] = {name: np.zeros(shape) for name, shape in shapes.items()}
    arrays |= {name: np.zeros(shape, dtype=np.int64) for name, shape in integers.items()}
    return Snapshot(
        version=0,
        now_s=0.0,
        seed=(0, 0),
        clock=1,
        ready_total=1,
        chunks=(Chunk("warm", 0, 1),),
        node_names=("warm",),
        **arrays,
    )
