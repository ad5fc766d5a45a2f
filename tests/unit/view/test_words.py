"""Counterfactuals and waits in words."""

import pytest

from fate.domain.graph import Chunk
from fate.domain.plan import Plan
from fate.view.explain import Decision, Option, Terms
from fate.view.waits import Held, held, wait_lines
from fate.view.words import counterfactual, sentences

NOTHING = dict.fromkeys(Terms.__struct_fields__, 0.0)


def option(
    device: str,
    *,
    chosen: bool = False,
    new: float = 100.0,
    evicts: tuple[str, ...] = (),
    **terms: float,
) -> Option:
    """Return a device's price; the decision was taken at 10 s."""
    priced = Terms(**{**NOTHING, **{f"{name}_s": value for name, value in terms.items()}})
    seconds = sum(terms.values())
    return Option(
        device=device,
        chosen=chosen,
        terms=priced,
        new_tokens=new,
        evicts=evicts,
        finish_s=10.0 + seconds - priced.regret_s,
        cost_s=seconds,
    )


HERE = option("d0", chosen=True, prefill=1.0, decode=1.0)


def test_a_load_and_tokens_that_are_cached_here() -> None:
    """The largest differences first, until they explain the whole."""
    there = option("d1", new=800.0, load=1.1, prefill=3.1, decode=1.0)
    assert counterfactual(HERE, there) == (
        "On d1 it would have ended 3.2 s later because 700 more prompt tokens would have to be "
        "computed (2.1 s) and the model would have to be loaded (1.1 s)."
    )


def test_a_queue_and_an_unload() -> None:
    """What would go, and that it would have to wait; what is small beside them is left out."""
    there = option("d1", evicts=("big", "old"), queue=5.0, unload=2.0, prefill=1.0, decode=1.02)
    assert counterfactual(HERE, there) == (
        "On d1 it would have ended 7.0 s later because it would have to wait there (5.0 s) and "
        "big and old would have to be unloaded (2.0 s)."
    )


def test_an_earlier_end_elsewhere_that_later_stages_pay_for() -> None:
    """The word is earlier, and what turned the balance is said."""
    slow = option("d0", chosen=True, queue=3.0, prefill=1.0, decode=1.0)
    there = option("d1", prefill=1.0, decode=1.0, regret=4.0)
    assert counterfactual(slow, there) == (
        "On d1 it would have ended 3.0 s earlier because it is free now (3.0 s), but later stages "
        "would lose another 4.0 s."
    )


def test_a_slower_device() -> None:
    """The same tokens take longer: the device is at fault, not the cache."""
    there = option("d1", prefill=1.06, decode=3.0)
    assert counterfactual(HERE, there) == (
        "On d1 it would have ended 2.1 s later because decoding takes 2.0 s longer there."
    )


def test_equal_ends() -> None:
    """Nothing to explain."""
    there = option("d1", prefill=1.0, decode=1.0)
    assert counterfactual(HERE, there) == "On d1 it would have ended at the same time."


@pytest.mark.parametrize(
    ("lost_by_s", "verdict"),
    [
        (2.5, "d0 won by 2.5 s over d1, most of it waiting."),
        (0.0, "d0 won by 0 ms over d1."),
        (-0.8, "d0 took it although it alone would have cost 0.8 s less on d1: the plan as a "
               "whole does better so."),
    ],
)  # fmt: skip
def test_the_verdict(lost_by_s: float, verdict: str) -> None:
    """Who won, by how much, on what; or that the plan as a whole decided."""
    decision = Decision(
        at_s=10.0,
        version=1,
        policy="fate",
        chunk="w/a",
        model="m",
        options=(HERE, option("d2", queue=9.0), option("d1", queue=1.0), Option(device="d3")),
        chosen="d0",
        runner_up="d1",
        lost_by_s=lost_by_s,
        lost_on="queue",
    )
    found = sentences(decision)
    assert found[0] == verdict
    assert [text.split()[1] for text in found[1:]] == ["d1", "d2"]


def test_how_a_plan_held_a_chunk_back() -> None:
    """In no list, first on a busy device, or behind others."""
    one, two, left = Chunk("w/a", 0, 1), Chunk("w/b", 0, 4), Chunk("w/c", 0, 1)
    plan = Plan(policy="fate", orders=((one, two), ()))
    devices = ("d0", "d1")
    assert held(plan, devices, two, 1.0, 7) == Held(
        at_s=1.0, version=7, device="d0", position=2, ahead="a"
    )
    assert held(plan, devices, one, 1.0, 7).position == 1
    assert held(plan, devices, left, 1.0, 7).device is None


def test_like_plans_are_told_as_one_stretch() -> None:
    """A line each time the device or the reason changes."""
    steps = [
        Held(at_s=1.0, version=1, device=None),
        Held(at_s=2.0, version=2, device="d1", position=3, ahead="a"),
        Held(at_s=3.0, version=3, device="d1", position=2, ahead="b"),
        Held(at_s=4.0, version=4, device="d1", position=1),
    ]
    assert wait_lines(steps) == [
        "plan 1 at 1.00 s: in no device's list, left for a later plan",
        "plans 2 to 3, 2.00 to 3.00 s: number 3, then 2 on d1, behind others",
        "plan 4 at 4.00 s: next on d1, which was busy",
    ]
