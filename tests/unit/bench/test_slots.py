"""Several calls at once: what planners foretell is what the simulator makes of it."""

from pathlib import Path

import pytest
from tests.unit.policy.foresight.test_foresight import Watched

from fate.bench.case import run_case
from fate.bench.slots import slots, slots_case
from fate.policy.foresight.policy import ForesightPolicy


def test_replay_and_projection_do_not_err(tmp_path: Path) -> None:
    """With exact estimates and without noise every end is as foretold, but for rounding."""
    shown: list[str] = []
    slots(tmp_path, shown.append, cases=2, workflows=5)
    rows = [line.split() for line in shown[-2].splitlines() if "_error" in line]
    assert len(rows) == 16
    assert all(float(row[4]) < 1e-12 for row in rows)


@pytest.mark.parametrize("count", [2, 4])
def test_every_decision_foresees_the_end(count: int) -> None:
    """Loads and calls under way are foretold too: a plan that is kept ends when it was to end.

    Where a call that runs ends last, plans for the others say nothing of it.
    """
    watched = Watched(ForesightPolicy(mean=0.0, projections=0, challenge=False, margin=1.0))
    outcome = run_case(slots_case(count, 5, 1), watched)
    known = watched.ends_s[:-3]
    assert len(known) > 10
    assert known == pytest.approx([outcome.makespan_s] * len(known), rel=1e-9)
