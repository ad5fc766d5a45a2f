"""Which devices can be trusted with work: a circuit breaker each.

    closed --trips--> open (drained) --cool-down is over--> half-open (one call, as a trial)
      ^                  ^                                      |
      |                  +----- the trial fails or is slow -----+  (the next cool-down is doubled)
      +------------------------ the trial goes well ------------+

A device that asks to be left alone (`Failed.wait_s`) is open for as long, too, and nobody tries it
earlier: it is busy, and neither it nor its work has failed.

A breaker trips after `breaker_failures` pieces of work failed in a row, after two items in a row
that were too slow, or over one step that takes too long (`watch` says what is too slow or long).
Work that fails on several devices is at fault itself: it counts against none of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from fate.core.options import SchedulerOptions
from fate.domain.messages import Command, Drained, Readmitted
from fate.domain.state import DeviceState

BreakerState: TypeAlias = Literal["closed", "open", "half-open"]
Fault: TypeAlias = Literal["failing", "slow", "busy"]
#: What failed or was slow: an item, or an activity without one.
WorkId: TypeAlias = tuple[str, int]

#: Slow items in a row that drain a device.
SLOW_ITEMS = 2
#: A cool-down grows to at most this many times the first one.
_LONGEST = 32


@dataclass(slots=True)
class Breaker:
    """One device's standing.

    `failed` is the work that failed in a row, `slow` counts slow items in a row; `trips` counts
    drains in a row without a trial that went well. `until_s` is when an open breaker's cool-down
    is over, `fault` and `reason` why it tripped, `asked_s` when it asked to be left alone first.
    """

    state: BreakerState = "closed"
    fault: Fault | None = None
    failed: list[WorkId] = field(default_factory=list[WorkId])
    slow: int = 0
    trips: int = 0
    until_s: float = float("inf")
    reason: str = ""
    asked_s: float = float("inf")


class Health:
    """The breakers of all devices; tells devices how many calls they may run, and the log."""

    def __init__(
        self, states: Sequence[DeviceState], options: SchedulerOptions, outbox: list[Command]
    ) -> None:
        self._states, self._options, self._outbox = states, options, outbox
        self.breakers = [Breaker() for _ in states]
        self.open = 0

    def closed(self, d: int) -> bool:
        """Whether a device is up and fully trusted."""
        return self._states[d].healthy and self.breakers[d].state == "closed"

    @property
    def reopens_s(self) -> float:
        """When the next cool-down is over; inf when none is under way."""
        if not self.open:
            return float("inf")
        return min(b.until_s for b in self.breakers if b.state == "open")

    def good(self, d: int) -> None:
        """An item was finished at normal speed: the device is trusted again."""
        breaker = self.breakers[d]
        if breaker.slow or breaker.failed:
            breaker.slow = 0
            breaker.failed.clear()
        if breaker.state == "half-open":
            self._close(d)

    def slow(self, d: int) -> bool:
        """An item was too slow; tell whether that is one too many."""
        breaker = self.breakers[d]
        breaker.slow += 1
        return breaker.state == "half-open" or breaker.slow >= SLOW_ITEMS

    def failed(self, d: int, work: WorkId) -> bool:
        """Work failed on a device; tell whether that is one too many.

        Where it had failed elsewhere before, it is the work: those devices are acquitted.
        """
        if self._acquit(d, work):
            return False
        breaker = self.breakers[d]
        if work not in breaker.failed:
            breaker.failed.append(work)
        many = len(breaker.failed) >= self._options.breaker_failures
        return breaker.state == "half-open" or many

    def trip(self, d: int, fault: Fault, reason: str, now_s: float) -> None:
        """Drain a device: it gets nothing until its cool-down is over."""
        breaker = self.breakers[d]
        if breaker.state == "open":
            return
        cool_down_s = self._options.cool_down_s * min(2**breaker.trips, _LONGEST)
        breaker.trips += 1
        self._open(d, fault, reason, now_s + cool_down_s)

    def rest(self, d: int, wait_s: float, reason: str, now_s: float) -> bool:
        """Leave a device alone that asks for it; tell whether that is credible: not for ever."""
        breaker = self.breakers[d]
        asked_s, until_s = min(breaker.asked_s, now_s), now_s + wait_s
        if until_s > asked_s + self._options.max_rest_s:
            return False
        breaker.asked_s = asked_s
        if breaker.state != "open":
            self._open(d, "busy", reason, until_s)
        elif until_s > breaker.until_s:
            breaker.until_s = until_s
            self._tell(d)
        return True

    def cooled(self, now_s: float) -> bool:
        """Devices whose cool-down is over may take one call, as a trial; tell if there were any."""
        over = [d for d, b in enumerate(self.breakers) if b.state == "open" and b.until_s <= now_s]
        for d in over:
            self.try_again(d)
        return bool(over)

    def try_again(self, d: int) -> None:
        """Let an open device take one call."""
        self.breakers[d].state = "half-open"
        self.open -= 1
        self._states[d].most_calls = 1

    def _open(self, d: int, fault: Fault, reason: str, until_s: float) -> None:
        breaker = self.breakers[d]
        self.open += 1
        breaker.state, breaker.fault, breaker.slow = "open", fault, 0
        breaker.reason, breaker.until_s = f"{fault}: {reason}", until_s
        self._states[d].most_calls = 0
        self._tell(d)

    def aside(self, d: int) -> Drained | None:
        """Return how it was told that a device is to get nothing; None where it gets work."""
        breaker, name = self.breakers[d], self._states[d].device.id
        if breaker.state != "open":
            return None
        return Drained(device=name, reason=breaker.reason, until_s=breaker.until_s)

    def _tell(self, d: int) -> None:
        drained = self.aside(d)
        assert drained is not None
        self._outbox.append(drained)

    def _close(self, d: int) -> None:
        self.breakers[d] = Breaker()
        self._states[d].most_calls = self._states[d].device.slots
        self._outbox.append(Readmitted(device=self._states[d].device.id))

    def _acquit(self, d: int, work: WorkId) -> bool:
        """Take a failure back where it counts against others; tell whether it did."""
        others = [o for o, b in enumerate(self.breakers) if o != d and work in b.failed]
        for other in others:
            breaker = self.breakers[other]
            breaker.failed.remove(work)
            wronged = breaker.state == "open" and breaker.fault == "failing"
            if wronged and len(breaker.failed) < self._options.breaker_failures:
                self.open -= 1
                self._close(other)
        return bool(others)
