"""What `fate bench live` is asked for: policies, cells, seeds."""

from collections.abc import Sequence
from dataclasses import dataclass

from fate.bench.cells import GAIN
from fate.bench.live_run import MOVE, PARK, plain_name
from fate.bench.policies import plain_policy
from fate.domain.errors import FateError

POLICIES = (
    "round-robin",
    "round-robin-idle",
    "least-loaded",
    "idle-affinity",
    "late-eft",
    "fate",
    "foresight",
)
#: What is run where nothing can be gained, unless policies are named.
_NO_GAIN_POLICIES = ("round-robin", "round-robin-idle", "fate", "foresight")


@dataclass(frozen=True, slots=True, kw_only=True)
class LivePlan:
    """What to run: `policies` None means all where something can be gained, few elsewhere.

    A seed is a pair of runs, or a round of more than two, in every cell. `park` lets every policy
    park KV states; `+park` behind a name lets one. `resume` keeps earlier rounds that are whole.
    """

    cells: Sequence[str]
    policies: Sequence[str] | None
    seeds: Sequence[int]
    tier: str
    park: bool = False
    resume: bool = False

    def of(self, cell: str) -> list[str]:
        """Return the policies of a cell, in the order of the first pair."""
        if self.policies is not None:
            return list(self.policies)
        return list(POLICIES if cell in GAIN else _NO_GAIN_POLICIES)

    def rounds(self) -> list[tuple[str, int, int]]:
        """Return cell, pair and seed of every round, in the order in which they are run."""
        return [(cell, pair, seed) for pair, seed in enumerate(self.seeds) for cell in self.cells]

    @property
    def runs(self) -> int:
        """How many runs there are."""
        return sum(len(self.of(cell)) for cell, _, _ in self.rounds())


def live_policies(text: str) -> list[str]:
    """Return the policies that `--policies` names, each once; `+park` may stand behind a name.

    Raises:
        FateError: none is named, one is not registered, or has no such option or switch.
    """
    found = [part.strip() for part in text.split(",") if part.strip()]
    if not found:
        raise FateError("--policies: no name given")
    for name in found:
        plain_policy(plain_name(name))
        for switch in name.split("+")[1:]:
            if switch not in (PARK, MOVE):
                raise FateError(f"--policies: {name!r}: no switch {switch!r}; +{PARK} or +{MOVE}")
    return list(dict.fromkeys(found))
