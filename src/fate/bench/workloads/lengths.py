"""Numbers of tokens, and seconds of tools, as they were measured."""

import math
import random
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import numpy as np

#: Text longer than this is cut: what a 32k context leaves beside answers.
LONGEST_TEXT = 24576


def generator(*about: object) -> random.Random:
    """Return a generator that depends on what it is for, and on nothing else."""
    return random.Random(":".join([str(each) for each in about]))  # noqa: S311  # not a secret


class Drawn(Protocol):
    """Something that is drawn for each workflow, and what is expected of it."""

    @property
    def expected(self) -> int:
        """The mean, in whole tokens."""
        ...

    @property
    def most(self) -> int:
        """No draw is larger."""
        ...

    def draw(self, generator: random.Random) -> int:
        """Draw a number of tokens."""
        ...


@dataclass(frozen=True, slots=True)
class Length:
    """A number of tokens, as it was measured.

    Attributes:
        mean, sd: of the measurements.
        most: never more than this; an answer's `max_tokens`.
    """

    mean: float
    sd: float = 0.0
    most: int = LONGEST_TEXT

    @property
    def expected(self) -> int:
        """The mean in whole tokens."""
        return min(round(self.mean), self.most)

    def draw(self, generator: random.Random) -> int:
        """Draw from the log-normal distribution with this mean and deviation, cut at `most`."""
        value = self.mean
        if self.sd > 0:
            variance = math.log1p((self.sd / self.mean) ** 2)
            value = math.exp(generator.gauss(math.log(self.mean) - variance / 2, variance**0.5))
        return min(round(value), self.most)


@dataclass(frozen=True, slots=True)
class Quantiles:
    """A distribution by its quantiles: (share, value) from share 0 to 1, values positive.

    Between two of them the logarithm of the value is linear in the share.
    """

    points: tuple[tuple[float, float], ...]

    @property
    def mean(self) -> float:
        """The exact mean: of an exponential between two points."""
        total = 0.0
        for (left, low), (right, high) in pairwise(self.points):
            ratio = math.log(high / low)
            total += (right - left) * ((high - low) / ratio if ratio else low)
        return total

    @property
    def expected(self) -> int:
        """The mean in whole tokens."""
        return round(self.mean)

    @property
    def most(self) -> int:
        """The last value."""
        return round(self.points[-1][1])

    def draw_value(self, generator: random.Random) -> float:
        """Draw a value."""
        shares = [share for share, _ in self.points]
        logs = [math.log(value) for _, value in self.points]
        return math.exp(float(np.interp(generator.random(), shares, logs)))

    def draw(self, generator: random.Random) -> int:
        """Draw a number of tokens."""
        return round(self.draw_value(generator))
