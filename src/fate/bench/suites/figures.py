"""From rows of results to figures: paired ratios, pooled quantiles, means, with intervals."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from fate.bench.report import Report, Row
from fate.bench.statistics import Interval, average, exact, ratio
from fate.bench.suites.chosen import BEST_BASELINE, LOWER_BOUND
from fate.bench.suites.results import Run
from fate.bench.suites.suite import Pool, Suite, Within

#: Resamples of a quantile's bootstrap: each sorts every latency.
_RESAMPLES, _LEVEL, _TAIL_PERCENT = 2_000, 0.95, 95
#: Means of these are reported as they are.
_COUNTS = (
    "makespan_s",
    "mean_s",
    "loads",
    "evictions",
    "computed_tokens",
    "moved_bytes",
    "decisions",
    "searched",
)
#: Makespan over the best baseline's; a cell all of whose interval lies above `LOST` is lost.
OVER_BEST, LOST = f"makespan_over_{BEST_BASELINE}", 1.02
LOST_CELLS, LEAD_KEPT = "cells_lost_to_best-baseline", "lead_kept_over_best-baseline"
#: Problem -> run, of one policy.
Runs: TypeAlias = Mapping[tuple[str, int], Run]


def add_figures(
    report: Report, suite: Suite, runs: Sequence[Run], labels: Mapping[str, str]
) -> None:
    """Add the figures of every pool and every cell.

    Args:
        report: where they go.
        suite: says which cells go together, and whose latencies make a quantile.
        runs: all rows.
        labels: names that stand for a policy in a ratio: `best-baseline` -> `late-eft`.
    """
    cells = [Pool(cell, _is(cell), _tail_of(cell, suite)) for cell in _cells(runs)]
    for pool in [*suite.pools(), *cells]:
        spans = _by_policy(run for run in runs if pool.within(run))
        if spans:
            _add_spans(report, pool.name, spans, labels)
            if suite.bounded:
                _add_bound(report, pool.name, spans, labels)
        tails = _by_policy(run for run in runs if pool.tail(run))
        if tails:
            _add_tails(report, pool.name, tails, labels)
    for pool in suite.pools():
        _add_lost(report, pool, runs)
    if suite.exact is not None:
        _add_kept(report, suite.exact)


def _add_lost(report: Report, pool: Pool, runs: Sequence[Run]) -> None:
    """Add how many of a pool's cells are lost to the best baseline: all of the interval above."""
    cells = set(_cells([run for run in runs if pool.within(run)]))
    found: dict[str, list[Row]] = defaultdict(list)
    for row in report.rows:
        if row.cell in cells and row.metric == OVER_BEST and row.policy != LOWER_BOUND:
            found[row.policy].append(row)
    for policy, rows in found.items():
        lost = sum(row.low > LOST for row in rows)
        report.add(pool.name, policy, LOST_CELLS, exact(lost, len(rows)))


def _add_kept(report: Report, reference: str) -> None:
    """Add the share of its lead over the best baseline that a policy keeps from `reference`."""
    ratios = {(r.cell, r.policy): r for r in report.rows if r.metric == OVER_BEST}
    for (cell, policy), row in ratios.items():
        before = ratios.get((reference, policy))
        if before is not None and before.mean < 1.0 and cell != reference:
            lead = 1.0 - before.mean
            figure = Interval(
                mean=(1.0 - row.mean) / lead,
                low=(1.0 - row.high) / lead,
                high=(1.0 - row.low) / lead,
                n=row.n,
            )
            report.add(cell, policy, LEAD_KEPT, figure)


def _add_spans(
    report: Report, cell: str, spans: Mapping[str, Runs], labels: Mapping[str, str]
) -> None:
    for policy, own in spans.items():
        for label, other in _others(policy, spans, labels):
            pairs = [(own[key], other[key]) for key in own if key in other]
            if pairs:
                for metric in ("makespan", "mean"):
                    figures = [
                        (getattr(a, f"{metric}_s"), getattr(b, f"{metric}_s")) for a, b in pairs
                    ]
                    report.add(cell, policy, f"{metric}_over_{label}", ratio(figures))
    for policy, own in spans.items():
        rows = list(own.values())
        for metric in _COUNTS:
            report.add(cell, policy, metric, average([getattr(run, metric) for run in rows]))
        for metric, values in _shares(rows).items():
            report.add(cell, policy, metric, average(values))


def _add_bound(
    report: Report, cell: str, spans: Mapping[str, Runs], labels: Mapping[str, str]
) -> None:
    """Add what no run can be below, over what every policy takes."""
    for label, runs in _others(LOWER_BOUND, spans, labels):
        pairs = [(run.least_s, run.makespan_s) for run in runs.values()]
        if all(least_s > 0.0 for least_s, _ in pairs):
            report.add(cell, LOWER_BOUND, f"makespan_over_{label}", ratio(pairs))


def _shares(runs: Sequence[Run]) -> dict[str, list[float]]:
    """Return shares of busy time, of devices' time, and of prompt tokens."""
    found: dict[str, list[float]] = defaultdict(list)
    for run in runs:
        compute_s = run.own_s + run.decode_s
        busy_s = run.load_s + run.transfer_s + run.prefix_s + compute_s
        found["load_share"].append(run.load_s / busy_s)
        found["transfer_share"].append(run.transfer_s / busy_s)
        found["prefix_share"].append(run.prefix_s / busy_s)
        found["compute_share"].append(compute_s / busy_s)
        found["idle_share"].append(run.idle_s / (run.idle_s + busy_s))
        found["cached_share"].append(run.cached_tokens / max(run.prompt_tokens, 1))
    return found


def _add_tails(
    report: Report, cell: str, tails: Mapping[str, Runs], labels: Mapping[str, str]
) -> None:
    """Add P95 over all workflow latencies of a cell, and its ratios.

    Resamples draw instances, the same for both sides of a ratio.
    """
    common = _common(tails.values())
    if not common:
        return
    draws = np.random.default_rng(0).integers(len(common), size=(_RESAMPLES, len(common)))
    found = {
        policy: pooled_quantiles([own[key].latencies_s for key in common], draws)
        for policy, own in tails.items()
    }
    for policy, (point, resampled) in found.items():
        report.add(cell, policy, "p95_s", _interval(point, resampled, len(common)))
        for label, _ in _others(policy, tails, labels):
            other, others = found[labels.get(label, label)]
            figure = _interval(point / other, resampled / others, len(common))
            report.add(cell, policy, f"p95_over_{label}", figure)


def pooled_quantiles(
    latencies_s: Sequence[Sequence[float]], draws: NDArray[np.int64]
) -> tuple[float, NDArray[np.float64]]:
    """Return the 95 % quantile of all latencies, and that of every resample of instances.

    The quantile is the smallest latency that at least 95 % do not exceed.

    Args:
        latencies_s: of each instance's workflows.
        draws: [R, n] instances of each resample.

    Returns:
        The quantile, and [R] quantiles [s].
    """
    sizes = np.array([[len(own)] for own in latencies_s])
    table = np.full((len(latencies_s), int(sizes.max())), math.inf)
    for i, own in enumerate(latencies_s):
        table[i, : len(own)] = own
    everything = np.arange(len(latencies_s))[None, :]

    def quantiles(which: NDArray[np.int64]) -> NDArray[np.float64]:
        pooled = np.sort(table[which].reshape(len(which), -1), axis=1)
        count = sizes[which].reshape(which.shape) @ np.ones(which.shape[1], np.int64)
        rank = -(-count * _TAIL_PERCENT // 100)
        return pooled[np.arange(len(which)), rank - 1]

    return float(quantiles(everything)[0]), quantiles(draws)


def _interval(point: float, resampled: NDArray[np.float64], n: int) -> Interval:
    tail = (1.0 - _LEVEL) / 2.0
    low, high = np.quantile(resampled, [tail, 1.0 - tail])
    return Interval(mean=point, low=float(low), high=float(high), n=n)


def _others(
    policy: str, spans: Mapping[str, Runs], labels: Mapping[str, str]
) -> list[tuple[str, Runs]]:
    """Return what a policy is compared with: all others, then those that have a label too.

    A labelled policy is compared with itself as well, so that its rows say 1.
    """
    others = [(name, runs) for name, runs in spans.items() if name != policy]
    return [*others, *[(label, spans[name]) for label, name in labels.items() if name in spans]]


def _by_policy(runs: Iterable[Run]) -> dict[str, dict[tuple[str, int], Run]]:
    found: dict[str, dict[tuple[str, int], Run]] = {}
    for run in runs:
        found.setdefault(run.policy, {})[run.problem] = run
    return found


def _common(of: Iterable[Runs]) -> list[tuple[str, int]]:
    """Return the problems that every policy has solved, in the first one's order."""
    first, *rest = of
    return [key for key in first if all(key in runs for runs in rest)]


def _cells(runs: Sequence[Run]) -> list[str]:
    return list(dict.fromkeys(run.cell for run in runs))


def _is(cell: str) -> Within:
    return lambda run: run.cell == cell


def _tail_of(cell: str, suite: Suite) -> Within:
    return lambda run: run.cell == cell and suite.tail(run)
