"""`fate bench move`: chains that must change to a device which never ran their prefix.

Every second call is sent where its prompt is not cached, over links of different speeds, with
moves of KV states switched off and on.
"""

import asyncio
from dataclasses import replace
from pathlib import Path

import msgspec

from fate.bench.live import check_equal_work, rotated, summarise
from fate.bench.live_run import LiveRun, open_bench
from fate.bench.report import Echo, Progress, Report, Target
from fate.bench.tiers import cluster_job, linked, tier_cluster
from fate.domain.plan import Memo, Plan
from fate.domain.snapshot import Snapshot
from fate.policy.base import Lookahead
from fate.session import Job

#: Bytes per second of the link between the two devices, by cell.
LINKS = {"1MB/s": 1e6, "10MB/s": 1e7, "100MB/s": 1e8, "1GB/s": 1e9}
ON, OFF = "elsewhere+move", "elsewhere"
TARGETS = [Target(cell="100MB/s", policy=ON, metric="wall_over_off", kind="at_most", bound=0.8)]


class Elsewhere:
    """Sends every call to the device that holds least of its prompt, the emptier list first."""

    name, eager, inline = OFF, False, True
    lookahead: Lookahead = "near"

    def plan(self, snapshot: Snapshot, memo: Memo | None) -> Plan:
        """Return the lists."""
        del memo
        orders: list[list[int]] = [[] for _ in range(snapshot.devices)]
        for node in range(snapshot.frontier):
            held = [_held(snapshot, node, d) for d in range(snapshot.devices)]
            d = min(range(snapshot.devices), key=lambda d: (held[d], len(orders[d]), d))
            orders[d].append(node)
        named = tuple(tuple(snapshot.chunks[node] for node in order) for order in orders)
        return Plan(policy=self.name, orders=named)


def move(out: Path, echo: Echo, *, pairs: int, tier: str, seed: int) -> int:
    """Run the chains over every link, with moves off and on; return the targets missed."""
    report = Report("move", out, echo)
    report.show_machine()
    job = cluster_job(tier_cluster(tier))
    runs = asyncio.run(_measure(job, report, pairs, seed))
    summarise(report, runs, {OFF: "off"})
    report.show_rows()
    echo("")
    missed = report.show_targets(TARGETS)
    echo(f"summary: {report.write()}")
    return missed


async def _measure(job: Job, report: Report, pairs: int, seed: int) -> list[LiveRun]:
    runs = list[LiveRun]()
    async with open_bench(job, report, seed, own_policies={OFF: Elsewhere()}) as bench:
        progress = Progress(pairs * 2 * len(LINKS), report.echo)
        for pair in range(pairs):
            for cell, speed in LINKS.items():
                on_link = replace(bench, cluster=linked(bench.cluster, speed))
                for policy in rotated([OFF, ON], pair):
                    run = await on_link.run("handover", policy, pair, seed + pair)
                    run = msgspec.structs.replace(run, cell=cell)
                    check_equal_work(runs, run)
                    runs.append(run)
                    report.run(msgspec.to_builtins(run))
                    progress.step(
                        f"{cell} {policy}: {run.wall_s:.2f} s, {run.computed_tokens} tokens "
                        f"computed, {run.moved_bytes / 1e6:.0f} MB moved"
                    )
    return runs


def _held(snapshot: Snapshot, node: int, device: int) -> int:
    """Return the leading tokens of a node's prompt that a device's sequences hold."""
    held = snapshot.content[device, snapshot.model[node]]
    return max((snapshot.shared(node, c) for c in held.tolist() if c >= 0), default=0)
