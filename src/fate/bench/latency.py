"""`fate bench latency`: what scheduling itself costs."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from fate.bench import loop_lag, overhead
from fate.bench.decisions import (
    Question,
    TimedPolicy,
    run_chains,
    time_core,
    time_local_search,
    time_plans,
)
from fate.bench.policies import plain_policy, ready_policy
from fate.bench.report import Echo, Report, Target, table
from fate.bench.statistics import exact, middle
from fate.bench.suites.latency_page import write_latency
from fate.domain.errors import FateError
from fate.policy.base import Policy
from fate.policy.fate.policy import FatePolicy
from fate.policy.kernel.backend import status
from fate.view.metrics import percentile

DEFAULT_POLICIES = ("fate", "late-eft")
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


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyPlan:
    """What to time: decisions of each policy, and `repeat` runs of each shape of no-op work."""

    policies: Sequence[str] = DEFAULT_POLICIES
    decisions: int = 300
    repeat: int = 7


def latency(
    out: Path, echo: Echo, plan: LatencyPlan | None = None, asked: str = "fate bench latency"
) -> int:
    """Measure and report; return how many targets are missed.

    The event loop is watched under those policies that plan beside it; what an item costs is
    measured under late-eft, which looks at what is ready and no further.
    """
    plan = plan or LatencyPlan()
    for name in plan.policies:
        if plain_policy(name).eager:
            raise FateError(
                f"--policies: {name!r} binds calls as they arrive, so that it never chooses among "
                f"{READY} ready ones; name policies that bind late"
            )
    report = Report("latency", out, echo)
    report.show_machine()
    policies = {name: ready_policy(name) for name in plan.policies}
    echo(f"planning kernel: {status()}")
    for name, policy in policies.items():
        _decisions(report, name, policy, plan.decisions)
    for name, policy in policies.items():
        if not policy.inline:
            _lag(report, name, policy, workflows=2 * plan.decisions)
    _overhead(report, plan.repeat)
    report.show_rows()
    echo("")
    echo(_anchors(report))
    echo("")
    targets = [t for t in TARGETS if t.policy in plan.policies or t.cell in overhead.SHAPES]
    missed = report.show_targets(targets)
    summary = report.write()
    write_latency(report, targets, asked)
    echo(f"{summary}, report.html, report.md, results.jsonl")
    return missed


def _decisions(report: Report, name: str, policy: Policy, count: int) -> None:
    """Time decisions that simulated runs under a policy came to, and the snapshots of the runs."""
    asked, snapshot_s = _simulated(name, policy, count)
    _milliseconds(report, name, "plan_ms", time_plans(policy, asked))
    if isinstance(policy, FatePolicy):
        search_s = time_local_search(asked, policy.options.moves)
        _milliseconds(report, name, "search_ms", search_s)
    _milliseconds(report, name, "snapshot_ms", snapshot_s)


def _simulated(name: str, policy: Policy, count: int) -> tuple[list[Question], list[float]]:
    """Simulate until a policy has come to `count` decisions; return them, and snapshots' seconds.

    What is ready is bounded for policies that look at few stages ahead, so that many chains may
    arrive. Those that look at all stages see all that is ready: so many arrive that `READY` are,
    when a device is done and the others work.
    """
    everything = policy.lookahead == "all"
    workflows = READY + DEVICES - 1 if everything else READY + count // 2
    asked, snapshot_s, seeds = list[Question](), list[float](), itertools.count()
    while len(asked) < count:
        timed = TimedPolicy(policy, ready=READY, keep=count - len(asked))
        outcome, setup = run_chains(
            timed, ready=READY, devices=DEVICES, workflows=workflows, seed=next(seeds)
        )
        if not timed.questions:
            raise FateError(f"--policies: {name!r} never has {READY} ready calls to choose among")
        asked += timed.questions
        snapshot_s += time_core(outcome.records, setup, lookahead=policy.lookahead).snapshot_s
    return asked, snapshot_s


def _milliseconds(report: Report, policy: str, metric: str, seconds: Sequence[float]) -> None:
    ordered = sorted(1e3 * s for s in seconds)
    for name, share in (("p50", 0.5), ("p99", 0.99)):
        figure = exact(percentile(ordered, share), len(ordered))
        report.add(DECISION, policy, f"{metric}_{name}", figure)
    report.run({"cell": DECISION, "policy": policy, metric: ordered})


def _lag(report: Report, name: str, policy: Policy, workflows: int) -> None:
    """Measure the event loop while a policy plans; a first short run warms everything up."""
    loop_lag.measure(policy, devices=DEVICES, workflows=DEVICES)
    lag = loop_lag.measure(policy, devices=DEVICES, workflows=workflows)
    ordered = sorted(1e3 * s for s in lag.late_s)
    for tail, share in (("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)):
        report.add(LAG, name, f"lag_ms_{tail}", exact(percentile(ordered, share), len(ordered)))
    report.add(LAG, name, "planning_share", exact(lag.planning_share, lag.plans))
    facts: Mapping[str, Any] = {"plans": lag.plans, "planning_share": lag.planning_share}
    report.run({"cell": LAG, "policy": name, "lag_ms_max": ordered[-1], **facts})


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
