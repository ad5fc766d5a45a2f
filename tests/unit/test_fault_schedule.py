"""When faults hold, and how long work takes under them."""

from math import inf

from fate.domain.faults import Fault, Schedule


def schedule(*faults: Fault) -> Schedule:
    """Return the schedule of a plan."""
    return Schedule(faults)


def test_work_outside_of_a_fault_ends_exactly_when_it_would() -> None:
    """To the last bit: nothing is computed."""
    of = schedule(Fault(kind="slow", device="d0", at_s=5.0, for_s=1.0))
    assert of.stretched("d0", 0.1, 0.1 + 0.2) == 0.1 + 0.2
    assert of.stretched("d1", 4.0, 7.0) == 7.0
    assert of.stretched("d0", 6.5, 7.0) == 7.0


def test_slow_work_takes_longer_while_it_is_slowed() -> None:
    """One second at full speed, one at a tenth of it, the rest at full speed."""
    of = schedule(Fault(kind="slow", device="d0", at_s=5.0, for_s=1.0, factor=10.0))
    assert of.stretched("d0", 4.0, 7.0) == 7.9
    assert of.stretched("d0", 5.0, 5.0625) == 5.625
    lasting = schedule(Fault(kind="slow", device="d0", at_s=5.0, factor=10.0))
    assert lasting.stretched("d0", 4.0, 6.0) == 15.0


def test_stopped_work_waits_or_never_ends() -> None:
    """Until it goes on, if it does."""
    of = schedule(Fault(kind="stop", device="d0", at_s=5.0, for_s=3.0))
    assert of.stretched("d0", 4.0, 6.0) == 9.0
    for_ever = schedule(Fault(kind="stop", device="d0", at_s=5.0))
    assert for_ever.stretched("d0", 4.0, 6.0) == inf
    for_ever.ends("stop", "d0", 7.0)
    assert for_ever.stretched("d0", 4.0, 6.0) == 8.0


def test_faults_are_set_off_by_the_nth_activity_on_their_device() -> None:
    """Of its kind; one that means an activity is met by that one, however late, and by no other."""
    of = schedule(Fault(kind="corrupt", device="d0", activity="call", count=2))
    assert of.begins("d0", "call", 1.0) == []
    assert of.begins("d1", "call", 1.5) == []
    assert of.begins("d0", "load", 1.6) == []
    assert not of.meets("corrupt", "d0", 1.9)
    assert len(of.begins("d0", "call", 2.0)) == 1
    assert of.meets("corrupt", "d0", 2.1)
    assert not of.meets("corrupt", "d0", 2.1)
    assert of.begins("d0", "call", 3.0) == []
    assert not of.meets("corrupt", "d0", 3.0)


def test_a_fault_that_lasts_is_met_by_all_that_begin_meanwhile() -> None:
    """Also one that an activity sets off."""
    of = schedule(Fault(kind="refuse_load", device="d0", activity="call", for_s=1.0))
    assert len(of.begins("d0", "call", 2.0)) == 1
    assert of.meets("refuse_load", "d0", 2.5)
    assert of.meets("refuse_load", "d0", 3.0)
    assert not of.meets("refuse_load", "d0", 3.1)


def test_a_full_disk_is_everybodys() -> None:
    """Whatever device the activity began on that filled it."""
    of = schedule(Fault(kind="disk_full", device="d1", activity="call", for_s=1.0))
    assert not of.holds("disk_full", "", 2.0)
    assert len(of.begins("d1", "call", 2.0)) == 1
    assert of.holds("disk_full", "", 2.5)
    assert not of.holds("disk_full", "", 3.5)
