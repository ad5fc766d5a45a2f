"""Runs of the live bench for tests, and the reports that are made of such."""

from pathlib import Path

from fate.bench import overhead
from fate.bench.cells import GAIN
from fate.bench.latency import DECISION, LAG
from fate.bench.latency import TARGETS as LATENCY_TARGETS
from fate.bench.live import REFERENCES, TARGETS, summarise
from fate.bench.live_plan import POLICIES
from fate.bench.live_run import Call, LiveRun
from fate.bench.report import Report
from fate.bench.statistics import Interval, exact
from fate.bench.suites.latency_page import write_latency
from fate.bench.suites.live_page import write_live


def run(cell: str, policy: str, pair: int, wall_s: float, loads: int) -> LiveRun:
    """Return a run of 1 000 computed tokens; the seed is that of the pair in `--seeds 0-9`."""
    call = Call(
        stage="s", model="A", calls=1, prompt_tokens=9.0, answer_tokens=4.0, output_tokens=4
    )
    return LiveRun(
        cell=cell,
        policy=policy,
        pair=pair,
        seed=pair,
        wall_s=wall_s,
        predicted_s=wall_s * 1.1,
        prediction_error=0.1,
        prediction_error_at_half=0.05,
        loads=loads,
        prompt_tokens=1500,
        cached_tokens=500,
        computed_tokens=1000,
        restored=0,
        copies=0,
        moved_bytes=0,
        move_s=0.0,
        output_tokens=4,
        load_s=1.0,
        prefill_s=1.0,
        decode_s=1.0,
        idle_s=0.0,
        planner_cpu_share=0.01,
        plan_ms_p50=1.0,
        plan_ms_p99=2.0,
        fallback_share=0.0,
        calls=(call,),
    )


def live_report(out: Path) -> Path:
    """Write the report of two pairs in three cells, each policy quicker than the one before."""
    report = Report("live", out, lambda _: None)
    runs = [
        run(cell, policy, pair, 30.0 - 3 * place + pair * (place % 3), 20 - 2 * place)
        for pair in range(2)
        for cell in (*GAIN, "control")
        for place, policy in enumerate(POLICIES)
    ]
    summarise(report, runs, {name: name for name in REFERENCES})
    write_live(report, REFERENCES, TARGETS, "fate bench live --seeds 0,1")
    return out / "report.html"


def latency_report(out: Path) -> Path:
    """Write the report of figures in round numbers."""
    report = Report("latency", out, lambda _: None)
    for policy, metric in (("fate", "plan"), ("fate", "search"), ("late-eft", "plan")):
        report.add(DECISION, policy, f"{metric}_ms_p50", exact(2.5, 300))
        report.add(DECISION, policy, f"{metric}_ms_p99", exact(12.25, 300))
    for metric, value in (("lag_ms_p50", 0.1), ("lag_ms_p99", 2.0), ("lag_ms_p99.9", 30.0)):
        report.add(LAG, "fate", metric, exact(value, 9000))
    report.add(LAG, "fate", "planning_share", exact(0.25, 100))
    for shape in overhead.SHAPES:
        figure = Interval(mean=294.2, low=280.4, high=301.3, n=7)
        report.add(shape, "late-eft", "us_per_item", figure)
    write_latency(report, LATENCY_TARGETS, "fate bench latency --decisions 300 --repeat 7")
    return out / "report.html"
