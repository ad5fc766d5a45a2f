"""Policies by name, with options."""

import pytest

from fate.bench.policies import ready_policy, split_options
from fate.domain.errors import FateError
from fate.policy.fate.policy import FatePolicy


def test_options_behind_a_name() -> None:
    """Numbers, true and false are read as such."""
    assert split_options("fate") == ("fate", {})
    assert split_options("fate?depth=0&residency=false&lam=.5&x=y") == (
        "fate",
        {"depth": 0, "residency": False, "lam": ".5", "x": "y"},
    )


def test_options_reach_the_policy() -> None:
    """The policy that is built has them."""
    policy = ready_policy("fate?depth=0&prefix=false")
    assert isinstance(policy, FatePolicy)
    assert (policy.options.depth, policy.options.prefix) == (0, False)


_WRONG = (
    "fate?depth",
    "fate?=1",
    "fate?unknown=1",
    "fate?solver_max=17",
    "round-robin?depth=1",
    "foresight?mean=NaN",
    "latency-aware?window=x",
    "latency-aware?window=Infinity",
)


@pytest.mark.parametrize("name", _WRONG)
def test_wrong_options_are_refused(name: str) -> None:
    """Before anything runs."""
    with pytest.raises(FateError):
        ready_policy(name)
