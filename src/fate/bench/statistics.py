"""The statistics of every suite: paired ratios and their bootstrap intervals."""

import math
from collections.abc import Callable, Sequence
from functools import lru_cache

import msgspec
import numpy as np
from numpy.typing import NDArray

#: Resamples of a bootstrap, and the share of them an interval holds.
_RESAMPLES = 10_000
_LEVEL = 0.95


class Interval(msgspec.Struct, frozen=True, kw_only=True):
    """A figure with its 95 % bootstrap interval over `n` observations."""

    mean: float
    low: float
    high: float
    n: int


def ratio(pairs: Sequence[tuple[float, float]], seed: int = 0) -> Interval:
    """Return the geometric mean of `first / second` over pairs measured side by side.

    Pairs in which either figure is not positive say nothing about a ratio and are refused.
    """
    if any(first <= 0 or second <= 0 for first, second in pairs):
        raise ValueError("a ratio needs positive figures")
    logs = np.array([math.log(first / second) for first, second in pairs])
    found = _bootstrap(logs, _mean, seed)
    return Interval(
        mean=math.exp(found.mean), low=math.exp(found.low), high=math.exp(found.high), n=found.n
    )


def average(values: Sequence[float], seed: int = 0) -> Interval:
    """Return the arithmetic mean."""
    return _bootstrap(np.array(values, np.float64), _mean, seed)


def middle(values: Sequence[float], seed: int = 0) -> Interval:
    """Return the median, under the name `mean` like every other figure."""
    return _bootstrap(np.array(values, np.float64), _median, seed)


def exact(value: float, n: int = 1) -> Interval:
    """Return a figure that has no interval: a count, or a percentile of `n` samples."""
    return Interval(mean=value, low=value, high=value, n=n)


def _mean(samples: NDArray[np.float64]) -> NDArray[np.float64]:
    return samples.mean(axis=1)


def _median(samples: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.median(samples, axis=1)


def _bootstrap(
    values: NDArray[np.float64],
    statistic: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    seed: int,
) -> Interval:
    """Return a statistic with its percentile bootstrap interval; a point when n is 1."""
    if not len(values):
        raise ValueError("no observations")
    resampled = statistic(values[_draws(len(values), seed)])
    tail = (1.0 - _LEVEL) / 2.0
    low, high = np.quantile(resampled, [tail, 1.0 - tail])
    point = statistic(values[None, :])[0]
    return Interval(mean=float(point), low=float(low), high=float(high), n=len(values))


@lru_cache(maxsize=4)  # thousands of figures share a few numbers of observations
def _draws(count: int, seed: int) -> NDArray[np.int64]:
    """Return [resamples, count] indices; nobody writes to them."""
    return np.random.default_rng(seed).integers(count, size=(_RESAMPLES, count))
