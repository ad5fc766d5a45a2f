"""Round numbers along an axis."""

import math

#: Steps of an axis are one of these times a power of ten.
_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Return round numbers from `low` to `high`, evenly spaced and at most `most` of them.

    Args:
        low: where the axis begins.
        high: where it ends, above `low`.
        most: no more numbers than that, 2 or more.
    """
    step = _step((high - low) / most, most, low, high)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [i * step for i in range(first, last + 1)]


def _step(least: float, most: int, low: float, high: float) -> float:
    """Return the smallest round step with which no more than `most` numbers lie on the axis."""
    power = 10.0 ** math.floor(math.log10(least))
    steps = [factor * scale for scale in (power, 10.0 * power) for factor in _STEPS]
    return next(
        step
        for step in steps
        if math.floor(high / step + 1e-9) - math.ceil(low / step - 1e-9) < most
    )


def tick_text(value: float) -> str:
    """Write a number of an axis: no more digits than it needs."""
    return f"{value:.4g}"
