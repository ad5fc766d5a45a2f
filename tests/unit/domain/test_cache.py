"""The cache of blocks: leading runs, budgets, and what goes first."""

from collections.abc import Hashable
from typing import cast

from hypothesis import given
from hypothesis import strategies as st

from fate.domain.cache import PrefixCache, keyed

#: Paths in a small tree; a segment has the same tokens wherever it stands.
PATHS = st.lists(st.sampled_from("abcd"), min_size=1, max_size=5).map(
    lambda keys: keyed("m", [(key, ord(key) - 90) for key in keys])
)


def test_only_the_leading_run_counts() -> None:
    """A node behind one that is not cached gives nothing, nor does another model's."""
    cache = PrefixCache(100)
    cache.touch(keyed("m", [("system", 30), ("context", 20)]), 1)
    assert cache.leading(keyed("m", [("system", 30), ("context", 20), ("own", 5)])) == 50
    assert cache.leading(keyed("m", [("other", 30), ("context", 20)])) == 0
    assert cache.leading(keyed("n", [("system", 30)])) == 0


def test_leaves_go_before_what_they_hang_from() -> None:
    """Of the path used longest ago the deepest node goes first; a shared head was used again."""
    cache = PrefixCache(100)
    cache.touch(keyed("m", [("system", 30), ("a", 30)]), 1)
    cache.touch(keyed("m", [("system", 30), ("b", 30)]), 2)
    cache.touch(keyed("m", [("x", 20)]), 3)
    assert cache.leading(keyed("m", [("system", 30), ("a", 30)])) == 30
    assert cache.leading(keyed("m", [("system", 30), ("b", 30)])) == 60
    assert cache.used_tokens == 80


def test_a_path_over_the_budget_keeps_what_fits() -> None:
    """Its own leaves go when nothing else is left."""
    cache = PrefixCache(50)
    cache.touch(keyed("m", [("a", 30), ("b", 15), ("c", 10)]), 1)
    assert cache.leading(keyed("m", [("a", 30), ("b", 15), ("c", 10)])) == 45


@given(st.lists(PATHS, max_size=30), st.integers(0, 60))
def test_cached_nodes_are_leading_ones_within_the_budget(
    paths: list[list[tuple[Hashable, int]]], budget: int
) -> None:
    """Whatever was used in whatever order, no cached node hangs in the air."""
    cache = PrefixCache(budget)
    for clock, path in enumerate(paths):
        cache.touch(path, clock)
        assert cache.used_tokens == sum(tokens for tokens, _ in cache.nodes.values()) <= budget
    for node in cache.nodes:
        above = cast("tuple[str, ...]", node)[:-1]
        assert len(above) == 1 or above in cache.nodes
