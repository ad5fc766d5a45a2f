"""Rules of the execution state: which sequence, which evictions."""

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fate.domain.catalog import Cluster, Device, Link, Model
from fate.domain.errors import FateError
from fate.domain.state import (
    CopyCosts,
    choose_evictions,
    choose_sequence,
    copy_pays,
    usable_hit,
)


@pytest.mark.parametrize(
    ("hits", "used_at", "chosen"),
    [
        ([0, 50, 20], [3, 2, 1], 1),  # the longest match
        ([50, 50], [9, 1], 1),  # the oldest among equals
        ([50, 50], [1, 1], 0),  # the first among those
        ([9, 0, 0], [3, 2, 1], 2),  # under a tenth of the prompt: the oldest
        ([10, 0, 0], [3, 2, 1], 0),  # a tenth is enough
        ([0, 0, 0], [0, 0, 5], 0),  # never used comes first
    ],
)
def test_which_sequence(hits: list[int], used_at: list[int], chosen: int) -> None:
    """For a prompt of 100 tokens."""
    assert choose_sequence(hits, used_at, 100.0) == chosen


def test_the_last_token_is_always_computed() -> None:
    """An engine needs logits to go on from."""
    assert usable_hit(100.0, 100.0) == 99.0
    assert usable_hit(40.0, 100.0) == 40.0
    assert usable_hit(0.0, 0.0) == 0.0


CANDIDATES = st.lists(st.tuples(st.integers(0, 9), st.integers(1, 50)), max_size=6)


@pytest.mark.parametrize(
    ("hit", "held", "copied_s", "pays"),
    [
        (250, 342, 0.001, True),  # 0.1 + 0.342 s of copying against 92 tokens of 10 ms
        (250, 288, 0.001, False),  # 38 tokens are computed sooner
        (342, 342, 0.0, False),  # nothing is lost: the prompt goes on from there
        (0, 342, 0.0, False),  # nothing is gained
        (250, 342, inf, False),  # the device cannot
    ],
)
def test_when_a_slot_is_copied(hit: int, held: int, copied_s: float, pays: bool) -> None:
    """Rather than lose what it holds beyond the match."""
    assert copy_pays(hit, held, CopyCosts(0.01, 0.1, copied_s)) == pays


@given(candidates=CANDIDATES, free=st.integers(-60, 60), need=st.integers(0, 200))
def test_which_models_go(candidates: list[tuple[int, int]], free: int, need: int) -> None:
    """Least recently used first, no more than needed, None exactly when all are too few."""
    gone = choose_evictions(candidates, free, need)
    if gone is None:
        assert free + sum(size for _, size in candidates) < need
        return
    assert free + sum(candidates[i][1] for i in gone) >= need
    if gone:
        assert free + sum(candidates[i][1] for i in gone[:-1]) < need
    kept = [i for i in range(len(candidates)) if i not in gone]
    assert all((candidates[i][0], i) < (candidates[j][0], j) for i in gone for j in kept)


def device(**changes: object) -> Device:
    """A device of 100 bytes."""
    return Device(**{"id": "d", "engine": "fake", "memory_bytes": 100, **changes})  # pyright: ignore[reportArgumentType]


def test_what_a_device_can_run() -> None:
    """Within its list and its memory; remote devices have no memory of ours to exceed."""
    small, large = Model(id="s", weight_bytes=60), Model(id="l", weight_bytes=101)
    context = Model(id="c", weight_bytes=60, kv_bytes_per_token=1, context_tokens=41)
    on = Cluster(devices=(device(),), models=(small, large, context))
    assert [on.supports(device(), m) for m in on.models] == [True, False, False]
    assert [on.supports(device(models=("l",)), m) for m in on.models] == [False, False, False]
    assert [on.supports(device(managed=False), m) for m in on.models] == [True, True, True]


@pytest.mark.parametrize(
    ("devices", "models", "problem"),
    [
        ((), ("m",), "no devices"),
        ((device(), device()), ("m",), "device 'd' is declared twice"),
        ((device(),), ("m", "m"), "model 'm' is declared twice"),
        ((device(models=("x",)),), ("m",), "names unknown model 'x'"),
    ],
)
def test_what_is_no_cluster(
    devices: tuple[Device, ...], models: tuple[str, ...], problem: str
) -> None:
    """Each with one clear line."""
    named = tuple(Model(id=name, weight_bytes=1) for name in models)
    with pytest.raises(FateError, match=problem):
        Cluster(devices=devices, models=named)


@pytest.mark.parametrize(
    ("target", "speed", "problem"), [("x", 1.0, "unknown device 'x'"), ("d", 0.0, "no speed")]
)
def test_what_is_no_link(target: str, speed: float, problem: str) -> None:
    """A link leads from device to device, and carries something."""
    models = (Model(id="m", weight_bytes=1),)
    link = Link(source="d", target=target, bytes_per_s=speed)
    with pytest.raises(FateError, match=problem):
        Cluster(devices=(device(),), models=models, links=(link,))
