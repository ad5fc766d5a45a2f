"""Quality against budget: `foresight` on the headline's instances with more and more search."""

from fractions import Fraction

from fate.bench.suites import chosen
from fate.bench.suites.problem import Problem
from fate.bench.suites.suite import Choice
from fate.bench.suites.variants import headline_problems
from fate.policy.foresight.options import ForesightOptions

NAME, SEARCHER = "anytime", "foresight"
#: Shares of the default budgets; without any the best of its greedy plans is carried out.
BUDGETS = (0.0, 1 / 16, 1 / 4, 1.0, 4.0)
_QUICK_BUDGETS = (0.0, 1 / 16, 1.0)
#: The options that bound the search.
BUDGETED = ("rules", "rule_steps", "anneal", "anneal_steps", "projections", "steps")


def at_budget(share: float) -> str:
    """Return the policy with a share of its default budgets.

    Without any it does not ask `fate` either, which searches too.
    """
    if share == 0.0:
        return f"{SEARCHER}?rules=0&anneal=0&projections=0&challenge=false"
    if share == 1.0:
        return SEARCHER
    defaults = ForesightOptions()
    options = [f"{name}={round(share * getattr(defaults, name))}" for name in BUDGETED]
    return f"{SEARCHER}?{'&'.join(options)}"


def problems(choice: Choice) -> list[Problem]:
    """Return the headline's instances."""
    return headline_problems(NAME, choice)


def policies(choice: Choice) -> list[str]:
    """Return every budget, and whom to compare them with."""
    budgets = _QUICK_BUDGETS if choice.quick else BUDGETS
    others = [chosen.REFERENCE, chosen.chosen(NAME).late, "fate"]
    return list(dict.fromkeys([*others, *map(at_budget, budgets)]))


def ladder() -> dict[float, str]:
    """Return the policy of each budget."""
    return {share: at_budget(share) for share in BUDGETS}


def titles() -> dict[str, str]:
    """Return what policies are called where there is no room for their options."""
    return {at_budget(share): f"{SEARCHER} x {Fraction(share)}" for share in BUDGETS}
