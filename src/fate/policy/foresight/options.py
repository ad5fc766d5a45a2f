"""Options of the `foresight` policy."""

from collections.abc import Mapping
from typing import Any

import msgspec

from fate.domain.errors import FateError

#: Weights beside the makespan by what is aimed at. `mean` and `tail` outweigh it, which is left to
#: decide between plans that are alike in them.
OBJECTIVES: Mapping[str, Mapping[str, float]] = {
    "makespan": {"mean": 0.0, "tail": 0.0},
    "mean": {"mean": 10.0, "tail": 0.0},
    "tail": {"mean": 0.0, "tail": 10.0},
    "balanced": {"mean": 1.0, "tail": 1.0},
}


class ForesightOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What can be tuned; the defaults are those measured best.

    Attributes:
        mean: weight of the mean of the workflows' ends beside the makespan.
        tail: weight of the 95th percentile of the workflows' ends.
        projections: most perturbed plans that are run to completion in a decision.
        steps: most node starts that these take together; large DAGs get fewer projections.
        rules: most greedy rules that are carried out when all nodes are new; where only some are,
            fewer by their share.
        rule_steps: most node starts that these take together.
        anneal: most plans that annealing runs to completion for each new node.
        anneal_steps: most node starts that these take together when all nodes are new.
        challenge: whether the plan of `fate` for the ready frontier is a challenger where nodes
            are new.
        margin: share of its value that a new plan must gain over the previous one.
        fate: options of that `fate`.
    """

    mean: float = 0.3
    tail: float = 0.0
    projections: int = 100
    steps: int = 100_000
    rules: int = 160
    rule_steps: int = 120_000
    anneal: int = 240
    anneal_steps: int = 16_000_000
    challenge: bool = True
    margin: float = 0.0
    fate: dict[str, Any] = {}

    def __post_init__(self) -> None:
        """Refuse values without meaning."""
        budgets = (
            self.rules,
            self.rule_steps,
            self.anneal,
            self.anneal_steps,
            self.projections,
            self.steps,
        )
        if min(self.mean, self.tail, self.margin, *budgets) < 0:
            raise FateError("policy foresight: weights, margin and budgets must not be negative")


def read_options(options: dict[str, Any]) -> ForesightOptions:
    """Return the options, or say which one is unknown or of the wrong type."""
    try:
        return msgspec.convert(options, ForesightOptions)
    except msgspec.ValidationError as error:
        known = ", ".join(ForesightOptions.__struct_fields__)
        raise FateError(f"policy foresight: {error}; options are {known}") from error
