"""The breaker of a device, transition by transition."""

from fate.core.health import Health
from fate.core.options import SchedulerOptions
from fate.domain.catalog import Device
from fate.domain.messages import Command, Drained, Readmitted
from fate.domain.state import DeviceState

A, B, C = ("w/a", 0), ("w/b", 0), ("w/c", 0)


def health(**options: float) -> tuple[Health, list[DeviceState], list[Command]]:
    """Two devices of four slots."""
    devices = [Device(id=f"d{n}", engine="fake", memory_bytes=1, slots=4) for n in range(2)]
    states, outbox = [DeviceState(device) for device in devices], list[Command]()
    chosen = {"breaker_failures": 3, "cool_down_s": 10.0, **options}
    return Health(states, SchedulerOptions(**chosen), outbox), states, outbox  # pyright: ignore[reportArgumentType] - counts and seconds


def test_failures_in_a_row_are_one_too_many_at_the_limit() -> None:
    """Of different work; the same work again counts once."""
    of, _, _ = health()
    assert [of.failed(0, work) for work in (A, A, B, C)] == [False, False, False, True]


def test_a_good_item_ends_the_row() -> None:
    """Two failures, a success, two failures: no drain."""
    of, _, _ = health()
    of.failed(0, A)
    of.failed(0, B)
    of.good(0)
    assert not of.failed(0, C)
    assert not of.failed(0, ("w/d", 0))


def test_two_slow_items_in_a_row_are_one_too_many() -> None:
    """One is an accident."""
    of, _, _ = health()
    assert not of.slow(0)
    of.good(0)
    assert not of.slow(0)
    assert of.slow(0)


def test_a_drained_device_gets_nothing_until_it_cools_down_then_one_call() -> None:
    """And all its slots when that call goes well."""
    of, states, outbox = health()
    of.trip(0, "failing", "broken", 5.0)
    assert (states[0].most_calls, states[0].usable, of.closed(0)) == (0, False, False)
    assert outbox == [Drained(device="d0", reason="failing: broken", until_s=15.0)]
    assert of.reopens_s == 15.0
    assert not of.cooled(14.9)
    assert of.cooled(15.0)
    assert (states[0].most_calls, states[0].usable, of.closed(0)) == (1, True, False)
    assert of.reopens_s == float("inf")
    of.good(0)
    assert (states[0].most_calls, of.closed(0)) == (4, True)
    assert outbox[1:] == [Readmitted(device="d0")]


def test_on_trial_one_failure_or_slow_item_is_one_too_many() -> None:
    """And the next cool-down is twice as long, up to a bound."""
    of, _, _ = health()
    waits: list[float] = []
    now_s = 0.0
    for _ in range(8):
        of.trip(0, "slow", "late", now_s)
        waits.append(of.reopens_s - now_s)
        now_s = of.reopens_s
        of.cooled(now_s)
        assert of.slow(0)
        assert of.failed(0, A)
    assert waits == [10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 320.0, 320.0]
    of.good(0)
    of.trip(0, "slow", "late", now_s)
    assert of.reopens_s == now_s + 10.0


def test_work_that_fails_everywhere_counts_against_nobody() -> None:
    """It is taken back where it was counted, and not counted where it fails again."""
    of, _, _ = health()
    of.failed(0, A)
    of.failed(0, B)
    assert not of.failed(1, A)
    assert not of.failed(1, B)
    assert [breaker.failed for breaker in of.breakers] == [[], []]


def test_a_device_drained_over_such_work_is_trusted_again() -> None:
    """At once: it was never at fault. One that is slow stays drained."""
    of, states, outbox = health(breaker_failures=1)
    of.failed(0, A)
    of.trip(0, "failing", "broken", 0.0)
    of.failed(1, A)
    assert outbox[-1] == Readmitted(device="d0")
    assert (states[0].most_calls, of.open) == (4, 0)
    of.failed(0, B)
    of.trip(0, "slow", "late", 1.0)
    of.failed(1, B)
    assert not states[0].usable


def test_a_device_is_drained_once() -> None:
    """A second reason while it is out changes nothing."""
    of, _, outbox = health()
    of.trip(0, "failing", "broken", 0.0)
    of.trip(0, "slow", "late", 1.0)
    assert len(outbox) == 1
    assert of.reopens_s == 10.0
