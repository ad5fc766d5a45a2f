"""Cost terms by hand, and alike on numbers and arrays."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fate.cost.terms import call_seconds, decode_seconds, prefill_seconds

PREFILL, DECODE = (0.01, 0.001, 1e-6), (0.0, 0.02, 1e-5)


def test_prefill_by_hand() -> None:
    """100 tokens behind 50: the mean depth is 100."""
    assert prefill_seconds(100.0, 50.0, *PREFILL) == pytest.approx(0.01 + 100 * (0.001 + 1e-4))


def test_decode_by_hand() -> None:
    """10 tokens behind 100: the mean depth is 105."""
    assert decode_seconds(10.0, 100.0, *DECODE) == pytest.approx(10 * (0.02 + 1.05e-3))


def test_nothing_to_do_costs_the_fixed_part() -> None:
    """No tokens, no time beyond what a prompt costs anyway."""
    assert prefill_seconds(0.0, 500.0, *PREFILL) == 0.01
    assert decode_seconds(0.0, 500.0, *DECODE) == 0.0


@given(tokens=st.lists(st.floats(0, 1e5), min_size=1), depth=st.floats(0, 1e5))
def test_arrays_and_numbers_agree_to_the_last_bit(tokens: list[float], depth: float) -> None:
    """The order of operations is one."""
    several = prefill_seconds(np.array(tokens), np.full(len(tokens), depth), *_arrays(len(tokens)))
    assert several.tolist() == [prefill_seconds(t, depth, *PREFILL) for t in tokens]


def _arrays(count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return np.full(count, PREFILL[0]), np.full(count, PREFILL[1]), np.full(count, PREFILL[2])


@given(items=st.integers(1, 9), cached=st.integers(0, 200), own=st.integers(1, 90))
def test_a_chunk_is_its_items_one_after_the_other(items: int, cached: int, own: int) -> None:
    """The first computes what is not cached, each other one what lies behind the shared head."""
    head, out = 200.0, 30.0
    first = prefill_seconds(head + own - cached, float(cached), *PREFILL)
    other = prefill_seconds(float(own), head, *PREFILL)
    decode = decode_seconds(out, head + own, *DECODE)
    rest = (items - 1.0, own * (items - 1.0), head)
    chunk = call_seconds(head + own, float(cached), rest, out * items, PREFILL, DECODE)
    assert chunk == pytest.approx(first + (items - 1) * other + items * decode)
