"""Paired ratios and their intervals."""

import math

import pytest

from fate.bench.statistics import average, exact, middle, ratio


def test_a_ratio_is_the_geometric_mean_of_paired_ratios() -> None:
    """Twice as quick in one pair and half as quick in the other is no difference."""
    assert ratio([(1.0, 2.0), (4.0, 2.0)]).mean == pytest.approx(1.0)
    assert ratio([(1.0, 4.0), (1.0, 1.0)]).mean == pytest.approx(0.5)


def test_pairs_that_agree_have_no_spread() -> None:
    """The interval is that of the ratios, not of the figures behind them."""
    found = ratio([(1.0, 2.0), (10.0, 20.0), (3.0, 6.0)])
    assert (found.mean, found.low, found.high) == pytest.approx((0.5, 0.5, 0.5))
    assert found.n == 3


def test_the_interval_holds_the_mean_and_nothing_beyond_the_extremes() -> None:
    """A resample can be no more extreme than the most extreme pair."""
    pairs = [(0.5, 1.0), (0.7, 1.0), (0.9, 1.0), (0.6, 1.0)]
    found = ratio(pairs)
    assert 0.5 <= found.low < found.mean < found.high <= 0.9


def test_the_bootstrap_covers_what_it_should() -> None:
    """For a spread-out sample the interval is about the normal one: mean +- 1.96 s / sqrt(n)."""
    values = [math.sin(7.0 * k) for k in range(200)]
    found = average(values)
    spread = math.sqrt(sum((v - found.mean) ** 2 for v in values) / 200 / 200)
    assert found.high - found.low == pytest.approx(2 * 1.96 * spread, rel=0.05)


def test_one_pair_is_a_point() -> None:
    """Nothing is known of the spread."""
    found = ratio([(3.0, 4.0)])
    assert (found.low, found.high, found.n) == (found.mean, found.mean, 1)


def test_equal_seeds_give_equal_intervals() -> None:
    """A summary can be made again from its results."""
    values = [math.sin(7.0 * k) for k in range(20)]
    assert average(values, seed=3) == average(values, seed=3)
    assert average(values, seed=3) != average(values, seed=4)


def test_the_median_ignores_an_outlier() -> None:
    """Which the mean does not."""
    assert middle([1.0, 2.0, 300.0]).mean == 2.0
    assert average([1.0, 2.0, 300.0]).mean == 101.0


def test_exact_figures_have_no_interval() -> None:
    """A percentile of many samples is one number."""
    found = exact(5.0, 100)
    assert (found.low, found.mean, found.high, found.n) == (5.0, 5.0, 5.0, 100)


def test_what_cannot_be_a_ratio_is_refused() -> None:
    """Zero loads on either side, or no pairs at all."""
    with pytest.raises(ValueError, match="positive"):
        ratio([(1.0, 0.0)])
    with pytest.raises(ValueError, match="no observations"):
        ratio([])
