"""Options of the `fate` policy."""

from typing import Any

import msgspec

from fate.domain.errors import FateError

#: Larger frontiers are not handed to CP-SAT even if coupled: building the model would take longer
#: than the search, which finds nothing there in time.
SOLVER_LIMIT = 16


class FateOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What can be tuned; the defaults are those measured best.

    Attributes:
        max_shards: devices that may hold chunks of one instance while devices are spare.
        depth: generations the horizon looks ahead, 0 to 3.
        lam: weight of the horizon's regret.
        gamma: discount of the horizon per generation.
        branch: children the horizon looks at per call.
        tau: weight of the path below a call in the objective.
        eps: weight of the sum of finish times in the objective.
        moves: most moves of the local search.
        solver: whether CP-SAT may run.
        always_solve: whether CP-SAT runs on every frontier, for ablations.
        solver_max: frontiers up to this size, 16 at most, are solved even where nothing couples
            them.
        margin: share of J that a new plan must gain over the previous one.
        spread: how the transfers to the children of a call count in the horizon: 0 by their mean,
            1 by their sum.
        residency, locality, prefix: whether costs depend on loaded models, on where outputs lie,
            on cached prefixes.
        reachability: whether the horizon counts waiting for busy devices, and eligible ones only.
        late_binding: whether calls that have not begun may go to another device than in the plan
            before; without it they are planned as work arrives, and stay there.
    """

    max_shards: int = 2
    depth: int = 2
    lam: float = 0.7
    gamma: float = 0.6
    branch: int = 4
    tau: float = 0.3
    eps: float = 0.03
    moves: int = 1000
    solver: bool = True
    always_solve: bool = False
    solver_max: int = 12
    margin: float = 0.1
    spread: float = 1.0
    residency: bool = True
    locality: bool = True
    prefix: bool = True
    reachability: bool = True
    late_binding: bool = True

    def __post_init__(self) -> None:
        """Refuse values without meaning."""
        if not 0 <= self.depth <= 3:
            raise FateError("policy fate: depth must be 0 to 3; 0 switches the horizon off")
        if self.max_shards < 1 or self.branch < 1:
            raise FateError("policy fate: max_shards and branch must be at least 1")
        weights = (self.lam, self.gamma, self.tau, self.eps, self.margin, self.spread)
        if min(*weights, self.moves) < 0:
            raise FateError("policy fate: weights, margin and moves must not be negative")
        if self.solver_max > SOLVER_LIMIT:
            raise FateError(f"policy fate: solver_max must be at most {SOLVER_LIMIT}")


def read_options(options: dict[str, Any]) -> FateOptions:
    """Return the options, or say which one is unknown or of the wrong type."""
    try:
        return msgspec.convert(options, FateOptions)
    except msgspec.ValidationError as error:
        known = ", ".join(FateOptions.__struct_fields__)
        raise FateError(f"policy fate: {error}; options are {known}") from error
