"""The table of suites."""

from fate.bench.report import Target
from fate.bench.suites import chosen, real_dag
from fate.bench.suites.suite import Choice, Suite
from fate.domain.errors import FateError


def _policies(suite: str, choice: Choice) -> list[str]:
    return chosen.few(suite) if choice.quick else chosen.many(suite)


_REAL_DAG_TARGETS = [
    Target(cell="headline", policy=policy, metric=metric, kind="at_most", bound=bound)
    for policy, metric, bound in (
        ("fate", "makespan_over_round-robin", 0.675),
        ("fate", "p95_over_round-robin", 0.677),
        ("fate", "makespan_over_best-published", 0.911),
        ("fate", "p95_over_best-published", 0.912),
        ("foresight", "makespan_over_round-robin", 0.56),
    )
] + [
    Target(
        cell="grid",
        policy="foresight",
        metric="makespan_over_best-baseline",
        kind="at_most",
        bound=0.88,
    ),
    Target(
        cell="regime compute",
        policy="foresight",
        metric="makespan_over_late-eft",
        kind="at_most",
        bound=1.02,
    ),
]

SUITES: dict[str, Suite] = {
    suite.name: suite
    for suite in (
        Suite(
            name=real_dag.NAME,
            problems=real_dag.problems,
            policies=lambda choice: _policies(real_dag.NAME, choice),
            pools=real_dag.pools,
            tail=real_dag.has_tail,
            chosen_by=real_dag.in_grid,
            prepare=real_dag.prepare,
            targets=_REAL_DAG_TARGETS,
        ),
        Suite(
            name="load",
            problems=real_dag.load_problems,
            policies=lambda choice: _policies(real_dag.NAME, choice),
            pools=real_dag.load_pools,
            tail=real_dag.has_tail,
            chosen_by=real_dag.in_grid,
            prepare=real_dag.prepare,
        ),
    )
}


def suite(name: str) -> Suite:
    """Return a suite.

    Raises:
        FateError: there is none of that name.
    """
    if name not in SUITES:
        raise FateError(f"no suite {name!r}; there are {', '.join(SUITES)}")
    return SUITES[name]
