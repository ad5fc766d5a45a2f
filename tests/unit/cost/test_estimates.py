"""Estimates follow what is measured, without being owned by outliers."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.graphs import cluster, profile

from fate.cost.estimates import CostTables, Estimator
from fate.cost.profile import Profile, guess_costs, guess_profile

ON = cluster()


def estimator() -> Estimator:
    """Two equal devices, three models."""
    return Estimator(ON, profile(ON))


def load_s(of: Estimator, device: int = 0, model: int = 0) -> float:
    """The estimated load time of a pair."""
    return float(of.tables().load_s[device, model])


def same(left: CostTables, right: CostTables) -> bool:
    """Whether two tables agree to rounding."""
    names = ("load_s", "unload_s", "prefill", "decode", "slowdown")
    return all(np.allclose(getattr(left, n), getattr(right, n), rtol=1e-12) for n in names)


def test_without_measurements_it_is_the_profile() -> None:
    """Shapes and values."""
    tables = estimator().tables()
    assert tables.load_s.tolist() == [[0.40, 0.45, 0.50]] * 2
    assert tables.unload_s.tolist() == [[0.05] * 3] * 2
    assert tables.prefill[0, 0].tolist() == [0.002, 1 / 2500, 0.0]
    assert tables.decode[1, 2].tolist() == [0.0, 1 / 240, 0.0]
    assert tables.slowdown.tolist() == [[1.0], [1.0]]


def test_what_a_device_cannot_run_costs_infinitely_much() -> None:
    """C does not fit into 50 MiB."""
    small = cluster(memory_mib=50)
    tables = Estimator(small, profile(small)).tables()
    assert np.isinf(tables.load_s[:, 2]).all()
    assert np.isfinite(tables.load_s[:, :2]).all()


def test_unknown_pairs_are_guessed_from_the_size() -> None:
    """A profile of another machine lacks a device."""
    of = Estimator(ON, Profile(costs={"d0": profile(ON).costs["d0"]}))
    assert load_s(of, 1, 1) == guess_costs(ON.models[1]).load_s
    assert load_s(of, 0, 1) == 0.45
    assert set(guess_profile(ON).costs["d1"]) == {"A", "B", "C"}


def test_it_converges_to_what_is_measured() -> None:
    """A device half as fast as calibrated."""
    of = estimator()
    for _ in range(60):
        of.observe_load("d0", "A", 0.8)
    assert load_s(of) == pytest.approx(0.8, rel=0.02)
    assert load_s(of, 1) == 0.40


def test_a_slow_machine_slows_every_model() -> None:
    """The part common to a device carries over to models it has not measured yet."""
    of = estimator()
    for _ in range(30):
        of.observe_load("d0", "A", 0.8)
    assert load_s(of, 0, 1) > 1.5 * 0.45


def test_models_differ_on_top_of_the_device() -> None:
    """A is twice as slow as said, B as fast as said: both are learned."""
    of = estimator()
    for _ in range(200):
        of.observe_load("d0", "A", 0.8)
        of.observe_load("d0", "B", 0.45)
    assert load_s(of, 0, 0) == pytest.approx(0.8, rel=0.15)
    assert load_s(of, 0, 1) == pytest.approx(0.45, rel=0.15)


@pytest.mark.parametrize("factor", [1000.0, 0.001])
def test_an_outlier_moves_little(factor: float) -> None:
    """One measurement a thousand times off, after ten good ones."""
    of = estimator()
    for _ in range(10):
        of.observe_load("d0", "A", 0.40)
    of.observe_load("d0", "A", 0.40 * factor)
    assert abs(math.log(load_s(of) / 0.40)) < 0.3


def test_it_follows_a_machine_that_changes() -> None:
    """A hundred measurements do not make it stiff."""
    of = estimator()
    for _ in range(100):
        of.observe_load("d0", "A", 0.40)
    for _ in range(60):
        of.observe_load("d0", "A", 0.80)
    assert load_s(of) == pytest.approx(0.8, rel=0.05)


def test_times_below_the_clock_teach_nothing() -> None:
    """Zero seconds of a no-op engine have no logarithm."""
    of = estimator()
    of.observe_load("d0", "A", 0.0)
    of.observe_unload("d0", "A", 1e-9)
    of.observe_prefill("d0", "A", 10, 0, 0.0, concurrency=1)
    assert same(of.tables(), estimator().tables())


def test_prefill_and_decode_scale_as_a_whole() -> None:
    """Ratios are of seconds, so fixed and per-token parts keep their proportion."""
    of = estimator()
    for _ in range(60):
        of.observe_prefill("d0", "A", 250, 60, 2 * (0.002 + 250 / 2500), concurrency=1)
        of.observe_decode("d0", "A", 46, 310, 0.05, concurrency=1)
    tables = of.tables()
    assert tables.prefill[0, 0].tolist() == pytest.approx([0.004, 2 / 2500, 0.0], rel=0.02)
    assert tables.decode[0, 0].tolist() == pytest.approx([0.0, 0.5 / 460, 0.0], rel=0.02)


def test_concurrent_calls_teach_the_slowdown_alone() -> None:
    """Two at once take half as long again; one alone is as before."""
    on = cluster(slots=2)
    of = Estimator(on, profile(on))
    for _ in range(60):
        of.observe_decode("d0", "A", 46, 310, 0.15, concurrency=2)
    assert of.tables().decode[0, 0].tolist() == [0.0, 1 / 460, 0.0]
    assert of.tables().slowdown[0].tolist() == pytest.approx([1.0, 1.5], rel=0.02)
    assert of.tables().slowdown[1].tolist() == [1.0, 1.0]


def test_company_never_speeds_a_call_up() -> None:
    """A lucky measurement with two at once is not a factor below one."""
    on = cluster(slots=2)
    of = Estimator(on, profile(on))
    of.observe_decode("d0", "A", 46, 310, 0.05, concurrency=2)
    assert of.tables().slowdown[0].tolist() == [1.0, 1.0]


MEASURED = st.tuples(
    st.sampled_from(["load", "unload", "prefill", "decode"]),
    st.sampled_from(["d0", "d1"]),
    st.sampled_from("ABC"),
    st.floats(0.001, 50.0),
    st.integers(1, 2),
)


@given(measured=st.lists(MEASURED, max_size=30))
def test_a_profile_carries_everything_learned(
    measured: list[tuple[str, str, str, float, int]],
) -> None:
    """The next run starts where this one ended, and a replay learns the same to the last bit."""
    on = cluster(slots=2)
    start = replace(profile(on), slowdown={"d0": (1.0, 1.3)})
    of, again = Estimator(on, start), Estimator(on, start)
    for each in (of, again):
        for kind, device, model, seconds, at_once in measured:
            if kind == "load":
                each.observe_load(device, model, seconds)
            elif kind == "unload":
                each.observe_unload(device, model, seconds)
            elif kind == "prefill":
                each.observe_prefill(device, model, 100, 20, seconds, concurrency=at_once)
            else:
                each.observe_decode(device, model, 30, 200, seconds, concurrency=at_once)
    assert of.tables().prefill.tobytes() == again.tables().prefill.tobytes()
    learned = of.profile("calibrated")
    assert learned.source == "calibrated"
    assert same(Estimator(on, learned).tables(), of.tables())
    for table in (of.tables().load_s, of.tables().slowdown):
        assert np.isfinite(table).all()
        assert (table > 0).all()
