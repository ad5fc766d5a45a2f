"""What runs on a device of several slots, and when it will begin and end."""

import pytest
from tests.by_hand import ByHand, first
from tests.graphs import chain, cluster

from fate.core.foretold import foretell
from fate.domain.messages import Call, Load


def two_slots() -> ByHand:
    """A device of two slots that holds two models; a second call makes both half as slow again."""
    on = cluster(devices=1, memory_mib=200, slots=2)
    return ByHand(on, slowdown={"d0": (1.0, 1.5)})


def test_a_call_behind_a_load_begins_with_it_and_counts_who_runs_then() -> None:
    """The loader serves the second chain behind the first, whose call is over by then."""
    hand = two_slots()
    hand.submit(chain("v", "A"), chain("w", "B"))
    hand.plan((first("v"), first("w")))
    loading, behind = hand.core.fleet.chains
    load_s = loading.steps[0].expected_s
    found = foretell(hand.core.fleet, hand.now_s)
    began_s = hand.now_s + load_s
    assert found.settled_at_s[0, 0] == began_s
    assert found.settled_at_s[0, 1] == began_s + behind.steps[0].expected_s
    assert found.loader_at_s[0] == found.settled_at_s[0, 1]
    expected = found.chains[loading]
    assert (expected.call_at_s, expected.work_s) == (began_s, loading.steps[-1].expected_s)
    assert expected.end_s == began_s + expected.work_s
    later = found.chains[behind]
    assert later.call_at_s == found.settled_at_s[0, 1] > expected.end_s
    assert later.end_s == later.call_at_s + later.work_s


def test_of_two_calls_that_wait_for_one_load_the_second_is_slower() -> None:
    """They begin at the same time, in the order in which they started."""
    hand = two_slots()
    hand.submit(chain("v", "A"), chain("w", "A"))
    hand.plan((first("v"), first("w")))
    one, two = foretell(hand.core.fleet, hand.now_s).chains.values()
    assert one.call_at_s == two.call_at_s
    assert one.end_s == one.call_at_s + one.work_s
    assert two.end_s == pytest.approx(two.call_at_s + 1.5 * two.work_s)


def test_a_call_that_runs_is_expected_to_take_what_it_began_with() -> None:
    """The second of two calls began beside the first: half as slow again, whoever ends."""
    hand = two_slots()
    hand.submit(chain("v", "A"), chain("w", "A"))
    hand.plan((first("v"), first("w")))
    hand.loaded(hand.one(Load))
    assert len(hand.all(Call)) == 2
    one, two = hand.core.fleet.chains
    assert (one.slowed, two.slowed) == (1.0, pytest.approx(1.5))
    call_s = two.steps[0].expected_s
    assert two.expected_end_s(hand.now_s) == pytest.approx(hand.now_s + 1.5 * call_s)
    found = foretell(hand.core.fleet, hand.now_s).chains[two]
    assert found.end_s == two.expected_end_s(hand.now_s)
    assert not found.work_s
