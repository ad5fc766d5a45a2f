"""The table of suites."""

from fate.bench.report import Target
from fate.bench.suites import chosen, real_dag
from fate.bench.suites.suite import Choice, Look, Suite
from fate.bench.workloads.regimes import REGIMES
from fate.bench.workloads.toys import CLUSTERS
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

_TOYS = (
    "Toy clusters and models, durations without noise, one call at a time on each device: no "
    "figure here is a claim about any hardware. The mapping of tasks to calls is ours; the paper's "
    "is not public, so equal numbers would not mean an equal experiment. Ratios over round-robin "
    "flatter everything else; compare with the best baselines."
)
_REAL_DAG_LOOK = Look(
    lead="WfCommons DAGs as LLM workflows on eight toy devices, each cell scaled until "
    "round-robin's busy time is divided as its regime says.",
    limits=_TOYS,
    notes={
        "headline": "Cluster mild, two workflows at once, four regimes; P95 from twelve at once. "
        "This group was chosen because its numbers resemble the paper's: it shows that they are "
        "plausible, not that they are reproduced.",
        "grid": "Every cell but those of the compute control.",
    },
    columns={
        **{name: f"regime {name}" for name in REGIMES},
        **{name: f"cluster {name}" for name in CLUSTERS},
    },
)

SUITES: dict[str, Suite] = {
    suite.name: suite
    for suite in (
        Suite(
            name=real_dag.NAME,
            problems=real_dag.problems,
            policies=lambda choice: _policies(real_dag.NAME, choice),
            pools=real_dag.pools,
            look=_REAL_DAG_LOOK,
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
            look=Look(
                lead="The cells of real-dag's headline with other numbers of workflows at once.",
                limits=_TOYS,
                shown=3,
                axis={float(load): f"W{load}" for load in real_dag.LOADS},
                axis_title="workflows at once",
            ),
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
