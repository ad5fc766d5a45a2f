"""`fate bench latency`: what scheduling itself costs."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from fate.bench import loop_lag, overhead
from fate.bench.decisions import (
    TimedPolicy,
    run_chains,
    time_core,
    time_local_search,
    time_plans,
)
from fate.bench.policies import ready_policy
from fate.bench.report import Echo, Report, Target, table
from fate.bench.statistics import exact, middle
from fate.policy.fate.options import FateOptions
from fate.policy.kernel.backend import status
from fate.view.metrics import percentile

#: Size of the decisions that are timed.
READY, DEVICES = 32, 8
DECISION = f"decision-{READY}x{DEVICES}"
LAG = "event-loop"
_LATE_EFT = "late-eft"

TARGETS = [
    Target(cell=DECISION, policy="fate", metric="search_ms_p50", kind="at_most", bound=5.0),
    Target(cell=LAG, policy="fate", metric="lag_ms_p99.9", kind="at_most", bound=20.0),
    *[
        Target(cell=shape, policy=_LATE_EFT, metric="us_per_item", kind="at_most", bound=300.0)
        for shape in overhead.SHAPES
    ],
]


def latency(out: Path, echo: Echo, *, decisions: int = 300, repeat: int = 7) -> int:
    """Measure and report; return how many targets are missed.

    Args:
        out: folder for the results.
        echo: where lines for people go.
        decisions: how many decisions are timed.
        repeat: runs of each shape of no-op work.
    """
    report = Report("latency", out, echo)
    report.show_machine()
    ready_policy("fate")
    echo(f"planning kernel: {status()}")
    _decisions(report, decisions)
    _lag(report, workflows=2 * decisions)
    _overhead(report, repeat)
    report.show_rows()
    echo("")
    echo(_anchors(report))
    echo("")
    missed = report.show_targets(TARGETS)
    echo(f"summary: {report.write()}")
    return missed


def _decisions(report: Report, count: int) -> None:
    """Time decisions that a simulated run under `fate` came to."""
    fate = ready_policy("fate")
    timed = TimedPolicy(fate, ready=READY, keep=count)
    workflows = READY + count // 2
    outcome, setup = run_chains(timed, ready=READY, devices=DEVICES, workflows=workflows)
    core = time_core(outcome.records, setup)
    asked = timed.questions
    _milliseconds(report, "fate", "plan_ms", time_plans(fate, asked))
    _milliseconds(report, "fate", "search_ms", time_local_search(asked, FateOptions().moves))
    late_eft = ready_policy(_LATE_EFT)
    _milliseconds(report, _LATE_EFT, "plan_ms", time_plans(late_eft, asked))
    _milliseconds(report, "", "snapshot_ms", core.snapshot_s)


def _milliseconds(report: Report, policy: str, metric: str, seconds: Sequence[float]) -> None:
    ordered = sorted(1e3 * s for s in seconds)
    for name, share in (("p50", 0.5), ("p99", 0.99)):
        figure = exact(percentile(ordered, share), len(ordered))
        report.add(DECISION, policy, f"{metric}_{name}", figure)
    report.run({"cell": DECISION, "policy": policy, metric: ordered})


def _lag(report: Report, workflows: int) -> None:
    """Measure the event loop while `fate` plans; a first short run warms everything up."""
    policy = ready_policy("fate")
    loop_lag.measure(policy, devices=DEVICES, workflows=DEVICES)
    lag = loop_lag.measure(policy, devices=DEVICES, workflows=workflows)
    ordered = sorted(1e3 * s for s in lag.late_s)
    for name, share in (("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)):
        report.add(LAG, "fate", f"lag_ms_{name}", exact(percentile(ordered, share), len(ordered)))
    report.add(LAG, "fate", "planning_share", exact(lag.planning_share, lag.plans))
    facts: Mapping[str, Any] = {"plans": lag.plans, "planning_share": lag.planning_share}
    report.run({"cell": LAG, "policy": "fate", "lag_ms_max": ordered[-1], **facts})


def _overhead(report: Report, repeat: int) -> None:
    """Run every shape of no-op work `repeat` times, after one run that warms up."""
    for name, shape in overhead.SHAPES.items():
        graph = shape()
        overhead.seconds_per_item(graph, _LATE_EFT)
        found = [1e6 * overhead.seconds_per_item(graph, _LATE_EFT) for _ in range(repeat)]
        report.add(name, _LATE_EFT, "us_per_item", middle(found))
        report.run({"cell": name, "policy": _LATE_EFT, "us_per_item": found})
        report.echo(f"{name}: {median(found):.0f} us per item")


def _anchors(report: Report) -> str:
    """Put the measured overhead beside other tools'."""
    tools = list(next(iter(overhead.ANCHORS.values())))
    mine = {row.cell: f"{row.mean:.0f}" for row in report.rows if row.metric == "us_per_item"}
    rows = [
        (shape, mine[shape], *[f"{values[tool]:.0f}" if tool in values else "" for tool in tools])
        for shape, values in overhead.ANCHORS.items()
    ]
    head = ("us per no-op item", "fate, journal on", *tools)
    note = "others measured on a machine of the same class; of them only DBOS is durable"
    return f"{table(head, rows)}\n{note}"
