"""The compiled kernel agrees with the reference to the last bit."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.strategies import snapshots

from fate.domain.snapshot import Snapshot
from fate.policy.kernel import backend
from fate.policy.kernel.backend import CompiledKernel, ReferenceKernel
from fate.policy.kernel.problem import UNLIMITED, Weights
from fate.policy.kernel.reference_plans import (
    EFT,
    IDLE_AFFINITY,
    MAX_MIN,
    MIN_MIN,
    SUFFERAGE,
    must_first,
)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def _compiled(request: pytest.FixtureRequest) -> None:
    """Compile once per machine; the cache outlives the run."""
    cache = request.config.cache
    assert cache is not None
    assert backend.warm(str(cache.mkdir("numba"))) == "compiled", backend.status()


weights = st.builds(
    Weights,
    tau=st.sampled_from([0.0, 0.5, 1.0]),
    eps=st.sampled_from([0.0, 0.03, 0.3]),
    lam=st.sampled_from([0.0, 0.5, 1.0]),
    gamma=st.sampled_from([0.6, 1.0]),
    depth=st.integers(0, 3),
    branch=st.integers(1, 4),
    limit=st.sampled_from([1, 2, UNLIMITED]),
    reachability=st.booleans(),
    spread=st.sampled_from([0.0, 0.5, 1.0]),
)


@settings(deadline=None)
@given(snapshot=snapshots(), chosen=weights, seed=st.integers(0, 99))
def test_both_kernels_give_the_same_bits(snapshot: Snapshot, chosen: Weights, seed: int) -> None:
    """Horizon, greedy plans, replay, objective and local search are equal, not just close."""
    plain, fast = ReferenceKernel(snapshot, chosen), CompiledKernel(snapshot, chosen)
    assert plain.future == fast.future
    moves = np.random.default_rng(seed).integers(0, 2**31, (60, 4))
    for rule in (EFT, MIN_MIN, MAX_MIN, SUFFERAGE, IDLE_AFFINITY):
        orders = plain.greedy(rule)
        assert fast.greedy(rule) == orders
        assert fast.replay(orders) == plain.replay(orders)
        assert fast.objective(orders) == plain.objective(orders)
        start = must_first(snapshot.must_start.tolist(), orders)
        assert fast.extend(orders[1:] + orders[:1]) == plain.extend(orders[1:] + orders[:1])
        assert fast.local_search(start, moves) == plain.local_search(start, moves)
