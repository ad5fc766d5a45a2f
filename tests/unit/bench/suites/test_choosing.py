"""Choosing: who is a candidate, who is best, and what is said of it."""

import pytest
from tests.unit.bench.suites.rows import row

from fate.bench.rivals import PLANNERS, RIVALS
from fate.bench.suites import tuning
from fate.bench.suites.choosing import candidates, ranking, verdict
from fate.bench.suites.suite import Choice, always
from fate.registry import resolve


def test_all_baselines_are_candidates_and_no_planner_is() -> None:
    """Round-robin first: everything is over it."""
    assert candidates()[0] == "round-robin"
    assert set(candidates()) == set(RIVALS)
    assert not set(candidates()) & set(PLANNERS)


def test_ranking_is_by_paired_ratios() -> None:
    """By hand: 0.5 and 0.8 against 0.6 and 0.6; the long instance counts no more."""
    runs = [
        row("round-robin", 10.0),
        row("round-robin", 1000.0, seed=1),
        row("heft", 5.0),
        row("heft", 800.0, seed=1),
        row("peft", 6.0),
        row("peft", 600.0, seed=1),
    ]
    found = ranking(runs, ["heft", "peft", "cpop"])
    assert [name for name, _ in found] == ["peft", "heft"]
    assert found[0][1] == pytest.approx(0.6)
    assert ranking(runs, ["heft"], lambda run: run.seed == 0)[0][1] == pytest.approx(0.5)


def test_the_verdict_names_what_is_not_fixed() -> None:
    """A first that is another than the table's is said; later groups decide nothing."""
    runs = [row("round-robin", 10.0), row("heft", 5.0), row("sufferage-state", 6.0)]
    lines = verdict("real-dag", runs, {"grid": always, "headline": always})
    assert lines[0] == (
        "grid, best as published: heft 0.500, round-robin 1.000 "
        "(but sufferage is fixed in bench/suites/chosen.py)"
    )
    assert lines[1] == "grid, best with late binding: sufferage-state 0.600 (as fixed)"
    assert "headline, best as published: heft 0.500, round-robin 1.000" in lines
    assert not [line for line in lines if "reconstructed" in line]


@pytest.mark.parametrize("name", list(tuning.GRIDS))
def test_every_option_that_is_tried_exists(name: str) -> None:
    """Each combination makes a policy of that name."""
    grid = tuning.GRIDS[name]
    for value in ({option: values[-1] for option, values in grid.items()}, {}):
        assert resolve("policy", name)(**value).name == name


def test_tuning_compares_with_the_defaults() -> None:
    """The best options first, with four decimals, and what the defaults come to."""
    assert "prefix-affinity?cap=1.1" in tuning.policies(Choice(seeds=(0,)))
    runs = [
        row("round-robin", 10.0),
        row("prefix-affinity", 8.0),
        row("prefix-affinity?cap=1.1", 7.0),
    ]
    assert tuning.verdict(runs) == [
        "prefix-affinity: cap=1.1 0.7000, defaults 0.8000; defaults 0.8000"
    ]


def test_tuning_says_when_the_defaults_were_not_run() -> None:
    """As with --policies that name options alone."""
    runs = [row("round-robin", 10.0), row("prefix-affinity?cap=1.1", 7.0)]
    assert tuning.verdict(runs) == ["prefix-affinity: cap=1.1 0.7000; defaults not run"]
