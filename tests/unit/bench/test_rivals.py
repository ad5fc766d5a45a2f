"""The table of baselines is complete and says one thing about each."""

import inspect

from fate.bench.rivals import PLANNERS, RIVALS, as_published, reconstructed, with_late_binding
from fate.registry import BUILTIN, resolve


def test_every_registered_policy_is_a_rival_or_a_planner() -> None:
    """A policy that is in neither would be left out of every suite without a word."""
    assert sorted(RIVALS) == sorted(set(BUILTIN["policy"]) - set(PLANNERS))


def test_what_is_published_is_not_ours() -> None:
    """The comparison with published baselines must not be with what we made of them."""
    assert not [name for name, rival in RIVALS.items() if rival.published and rival.ours]


def test_suffixes_tell_what_we_added() -> None:
    """`-state` and `-late` are ours; `-late` binds late."""
    for name, rival in RIVALS.items():
        if name.endswith(("-state", "-late")):
            assert rival.ours and not rival.published, name
        if name.endswith("-late"):
            assert rival.late, name


def test_groups() -> None:
    """The strawman is published and binds early; the strongest simple rule is ours."""
    assert "round-robin" in as_published() and "round-robin" not in with_late_binding()
    assert "late-eft" in with_late_binding() and "late-eft" not in as_published()


def test_reconstructions_are_marked_in_the_table_and_where_they_are_described() -> None:
    """What is known from an abstract only does not count as published, nor as an idea of ours."""
    says = {
        name: "reconstruction from the abstract" in (inspect.getdoc(resolve("policy", name)) or "")
        for name in RIVALS
    }
    assert reconstructed() == sorted(name for name, said in says.items() if said)
    assert reconstructed() == ["latency-aware", "topas"]
    assert not [name for name in reconstructed() if RIVALS[name].published or RIVALS[name].ours]
