"""The table of suites."""

from collections.abc import Callable, Sequence

from fate.bench.report import Target
from fate.bench.suites import anytime, chosen, native, real_dag, tuning, variants
from fate.bench.suites.figures import LEAD_KEPT, LOST_CELLS
from fate.bench.suites.looks import LOOKS
from fate.bench.suites.problem import Problem
from fate.bench.suites.suite import Choice, Pool, Suite, always, never
from fate.domain.errors import FateError


def _at_most(cell: str, policy: str, metric: str, bound: float) -> Target:
    return Target(cell=cell, policy=policy, metric=metric, kind="at_most", bound=bound)


def _not_above(cell: str, metric: str) -> Target:
    """Return the target that foresight's interval is not wholly above that of another."""
    return Target(cell=cell, policy="foresight", metric=metric, kind="reaches_down_to", bound=1.0)


#: Foresight's lead over the best baseline that binds late.
_LEAD = ("foresight", "makespan_over_best-baseline", 0.88)
_TARGETS: dict[str, list[Target]] = {
    "real-dag": [
        _at_most("headline", "fate", "makespan_over_round-robin", 0.675),
        _at_most("headline", "fate", "p95_over_round-robin", 0.677),
        _at_most("headline", "fate", "makespan_over_best-published", 0.911),
        _at_most("headline", "fate", "p95_over_best-published", 0.912),
        _at_most("headline", "foresight", "makespan_over_round-robin", 0.56),
        _at_most("grid", *_LEAD),
        _at_most("grid", "foresight", LOST_CELLS, 0.0),
        _at_most("grid", "foresight", "makespan_over_offline-best", 1.05),
        _at_most("regime compute", "foresight", "makespan_over_late-eft", 1.02),
    ],
    "llm-native": [
        target
        for group in (native.DRAWN, native.KNOWN)
        for target in (
            _at_most(group, *_LEAD),
            _at_most(group, "foresight", LOST_CELLS, 0.0),
        )
    ],
    "noise": [
        target
        for wrong in ("sigma .5", "bias .7", "bias 1.4")
        for target in (
            Target(cell=wrong, policy="foresight", metric=LEAD_KEPT, kind="at_least", bound=0.5),
            _not_above(wrong, "makespan_over_late-eft"),
        )
    ],
    "prefix-reuse": [_at_most("share-0.9", *_LEAD)],
    "arrivals": [
        *[
            _not_above(variants.load_name(share), f"p95_over_{policy}")
            for share in (0.7, 0.9)
            for policy in chosen.timed("arrivals")
            if policy != "foresight"
        ],
        Target(
            cell=variants.load_name(0.9),
            policy="foresight",
            metric="p95_over_late-eft",
            kind="below",
            bound=1.0,
        ),
    ],
}


def _standard(suite: str) -> Callable[[Choice], list[str]]:
    return lambda choice: chosen.few(suite) if choice.quick else chosen.many(suite)


def _small(suite: str) -> Callable[[Choice], list[str]]:
    return lambda _: chosen.few(suite)


def _timed(suite: str) -> Callable[[Choice], list[str]]:
    return lambda _: chosen.timed(suite)


def _ablation(choice: Choice) -> list[str]:
    parts = list(variants.ABLATIONS)[: 7 if choice.quick else None]
    return list(dict.fromkeys([chosen.REFERENCE, chosen.chosen("ablation").late, *parts]))


def _prepare_bases(found: Sequence[Problem]) -> None:
    real_dag.prepare(variants.bases(found))


SUITES: dict[str, Suite] = {
    suite.name: suite
    for suite in (
        Suite(
            name=real_dag.NAME,
            problems=real_dag.problems,
            policies=_standard(real_dag.NAME),
            pools=real_dag.pools,
            look=LOOKS[real_dag.NAME],
            tail=real_dag.has_tail,
            choosing=real_dag.choosing_problems,
            chosen_by=real_dag.chosen_by(),
            prepare=real_dag.prepare,
            targets=_TARGETS[real_dag.NAME],
        ),
        Suite(
            name="load",
            problems=real_dag.load_problems,
            policies=_standard("load"),
            pools=real_dag.load_pools,
            look=LOOKS["load"],
            tail=real_dag.has_tail,
            prepare=real_dag.prepare,
        ),
        Suite(
            name=native.NATIVE,
            problems=native.native_problems,
            policies=_standard(native.NATIVE),
            pools=native.known_pools,
            look=LOOKS[native.NATIVE],
            bounded=True,
            tail=native.has_tail,
            targets=_TARGETS[native.NATIVE],
        ),
        Suite(
            name=native.REUSE,
            problems=native.reuse_problems,
            policies=_standard(native.REUSE),
            pools=native.reuse_pools,
            look=LOOKS[native.REUSE],
            bounded=True,
            tail=native.has_tail,
            targets=_TARGETS[native.REUSE],
        ),
        Suite(
            name=native.TRACE,
            problems=native.trace_problems,
            policies=_standard(native.TRACE),
            pools=native.known_pools,
            look=LOOKS[native.TRACE],
            bounded=True,
            tail=native.has_tail,
        ),
        Suite(
            name="noise",
            problems=variants.noise_problems,
            policies=_timed("noise"),
            pools=variants.noise_pools,
            look=LOOKS["noise"],
            tail=never,
            exact=variants.EXACT,
            targets=_TARGETS["noise"],
            prepare=_prepare_bases,
        ),
        Suite(
            name="arrivals",
            problems=variants.arrival_problems,
            policies=_timed("arrivals"),
            pools=variants.arrival_pools,
            look=LOOKS["arrivals"],
            tail=always,
            chosen_figure="p95_s",
            prepare=_prepare_bases,
            targets=_TARGETS["arrivals"],
        ),
        Suite(
            name="ablation",
            problems=lambda choice: variants.headline_problems("ablation", choice),
            policies=_ablation,
            pools=real_dag.headline_pools,
            titles=variants.ABLATIONS,
            look=LOOKS["ablation"],
            tail=never,
            prepare=_prepare_bases,
        ),
        Suite(
            name=anytime.NAME,
            problems=anytime.problems,
            policies=anytime.policies,
            pools=real_dag.headline_pools,
            titles=anytime.titles(),
            look=LOOKS[anytime.NAME],
            tail=never,
            prepare=_prepare_bases,
        ),
        Suite(
            name=tuning.NAME,
            problems=lambda choice: real_dag.choosing_problems(choice, tuning.NAME),
            policies=tuning.policies,
            pools=lambda: [Pool("all", always, never)],
            look=LOOKS[tuning.NAME],
            tail=never,
            says=tuning.verdict,
            prepare=real_dag.prepare,
        ),
        Suite(
            name="frontier",
            problems=variants.frontier_problems,
            policies=_small("frontier"),
            pools=variants.frontier_pools,
            look=LOOKS["frontier"],
            tail=never,
            prepare=_prepare_bases,
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
